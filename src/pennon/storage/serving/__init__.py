"""A storage backend as a ``lance_namespace.LanceNamespace``.

Every data operation of the Lance Namespace specification is answered through the contract of a
backend and nothing else.

``Namespace.to_lance()`` gives one. Import this only when it is used: ``lance_namespace`` takes a
second to load.
"""

from pennon.storage.serving.adapter import BackendAdapter

__all__ = ["BackendAdapter"]
