"""Calls, locks and streams cancelled at random moments: nothing is lost, held or left behind."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest

import pennon
import pennon.aio
from pennon import ScanRequest
from pennon.aio import AsyncStorageBackend
from pennon.errors import InvalidState
from pennon.storage._lance import lanes

ROUNDS = int(os.environ.get("PENNON_RACE_ROUNDS", "20")) // 5
SECONDS = 60


class Storm:
    """What the tasks of one round do, and which writes they saw acknowledged."""

    def __init__(self, db: AsyncStorageBackend, chance: random.Random) -> None:
        self.db = db
        self.chance = chance
        self.acknowledged: list[int] = []

    async def write(self) -> None:
        id = self.chance.randrange(10**6, 10**12)
        await self.db.write("t", [{"id": id}])
        self.acknowledged.append(id)

    async def lock(self) -> None:
        async with self.db.lock_table_for_write("t"):
            await self.write()
            async with self.db.lock_table_for_write("t"):
                await self.write()

    async def read(self) -> None:
        rows = 0
        async for batch in self.db.scan(ScanRequest("t", batch_size=50)):
            rows += batch.num_rows
            if self.chance.random() < 0.1:
                return
        assert rows >= 1000

    async def read_all(self) -> None:
        async with self.db.scan(ScanRequest("t", batch_size=50)) as stream:
            assert (await stream.read_all()).num_rows >= 1000

    async def blow(self) -> list[Any]:
        """Return what became of the tasks, half of them cancelled."""
        kinds = [self.write, self.lock, self.read, self.read_all]
        tasks = [asyncio.create_task(self.chance.choice(kinds)()) for _ in range(12)]
        for _ in range(self.chance.randrange(200)):
            await asyncio.sleep(0)
        for task in self.chance.sample(tasks, 6):
            task.cancel()
        if self.chance.random() < 0.2:
            await self.db.aclose()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), SECONDS)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_storm_of_cancellations(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    sync = pennon.open(tmp_path)
    sync.create_table("t", [{"id": n} for n in range(1000)])
    before = threading.active_count()
    acknowledged: list[int] = []

    async def main() -> None:
        async with pennon.aio.open(tmp_path, max_concurrency=chance.choice([1, 2, 4, 32])) as db:
            for _ in range(4):
                storm = Storm(db, chance)
                for outcome in await storm.blow():
                    if isinstance(outcome, Exception):
                        assert isinstance(outcome, InvalidState), outcome
                acknowledged.extend(storm.acknowledged)

    for _ in range(3):
        asyncio.run(main())
        assert threading.active_count() <= before
        assert not lanes._lanes
        assert not lanes._busy
    assert set(acknowledged) <= set(sync.scan("t").read_all()["id"].to_pylist())
