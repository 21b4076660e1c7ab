"""The state machine on the memory catalog: two connections against the reference."""

from __future__ import annotations

import uuid

from hypothesis import HealthCheck, settings

from pennon.namespaces.abc import Id, Namespace
from pennon.namespaces.memory import MemoryNamespace
from pennon.testing.machine import NamespaceMachine, run_machine


class MemoryMachine(NamespaceMachine):
    def reopen(self, namespace: Namespace) -> Namespace:
        return MemoryNamespace(namespace.root)

    def write_table(self, namespace: Namespace, id: Id) -> None:
        assert isinstance(namespace, MemoryNamespace)
        namespace.mark_written(id)


def test_memory_behaves_like_itself() -> None:
    run_machine(
        lambda: MemoryNamespace(f"memory://{uuid.uuid4().hex}"),
        settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
        machine=MemoryMachine,
    )
