"""The conformance suite of a catalog."""

from __future__ import annotations

from pennon.testing._suite_listing import ListingCases
from pennon.testing._suite_names import NameCases
from pennon.testing._suite_namespaces import NamespaceCases
from pennon.testing._suite_sharing import SharingCases
from pennon.testing._suite_tables import TableCases

__all__ = ["NamespaceSuite"]


class NamespaceSuite(NamespaceCases, TableCases, ListingCases, NameCases, SharingCases):
    """Tests that every :class:`~pennon.namespaces.abc.Namespace` passes.

    Subclass it in a test module, say where a fresh catalog comes from, and pytest runs it all::

        class TestMine(NamespaceSuite):
            @pytest.fixture
            def namespace(self, tmp_path):
                with pennon.connect("mine", {"root": str(tmp_path)}) as namespace:
                    yield namespace

            def reopen(self, namespace):
                return pennon.connect("mine", {"root": namespace.root}).connect()

    Nothing is skipped: what a catalog leaves out of its ``capabilities`` it must refuse with
    ``Unsupported``, and the suite checks that it does.

    Override, besides ``namespace`` and ``reopen``:

    - ``write_table(namespace, id)`` where Lance cannot write at the location of a declared table;
    - ``secrets``, the credentials in use, so that the suite can look for them in everything shown.
    """
