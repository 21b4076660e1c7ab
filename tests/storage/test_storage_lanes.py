"""Appends that wait for one table are committed together, and lanes do not outlive their use."""

from __future__ import annotations

import threading

import pennon
from pennon.storage._lance import lanes
from pennon.storage.abc import CommitReceipt


def test_appends_that_wait_are_one_commit(local_root: str) -> None:
    db = pennon.open(local_root)
    db.create_table("t", [{"id": -1}])
    receipts: dict[int, CommitReceipt] = {}

    def work(number: int) -> None:
        rows = [{"id": number}] * (number + 1)
        named = f"w{number}" if number % 2 else None
        receipts[number] = db.write("t", rows, write_id=named)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    with db.lock_table_for_write("t"):
        for thread in threads:
            thread.start()
        (lane,) = lanes._lanes.values()  # pyright: ignore[reportPrivateUsage]
        while len(lane.waiting) < len(threads):
            threading.Event().wait(0.01)
        assert db.write("t", [{"id": 100}]).version == 2
    for thread in threads:
        thread.join()
    assert {r.version for r in receipts.values()} == {3}
    assert [receipts[n].rows_inserted for n in range(8)] == list(range(1, 9))
    assert len({r.write_id for r in receipts.values()}) == 8
    assert db.count_rows("t") == 2 + 36
    again = pennon.open(local_root)
    for number in (1, 3, 5, 7):
        rows = [{"id": number}] * (number + 1)
        assert again.write("t", rows, write_id=f"w{number}") == receipts[number]
    assert db.count_rows("t") == 2 + 36
    assert not lanes._lanes  # pyright: ignore[reportPrivateUsage]
    assert not lanes._busy  # pyright: ignore[reportPrivateUsage]
