"""Real replicas as processes, and a consumer that remembers what it saw."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path

import msgspec
from redis.asyncio import Redis

from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.targets import DatabaseTarget
from tests.kit.asynq_peer import AsynqPeer


def environment(redis_port: int, database: DatabaseTarget, **settings: str) -> dict[str, str]:
    """The seed's variables, as an existing deployment sets them, and nothing of this shell's."""
    parts = {"DB_TYPE": database.dialect, "DB_NAME": database.name}
    if database.dialect == "mongo" and not database.user:  # the parts always name a user
        parts = {"DATABASE_URL": f"mongodb://{database.host}:{database.port}/{database.name}"}
    elif database.dialect != "sqlite":
        parts |= {
            "DB_HOST": database.host or "",
            "DB_PORT": str(database.port),
            "DB_USER": database.user or "",
            "DB_PASS": database.password or "",
        }
    return {
        "PATH": os.environ["PATH"],
        # The code beside these tests, whatever else is installed.
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(redis_port),
        "MODE": "prod",
        "METRICS_ADDR": "off",
        **parts,
        **settings,
    }


class Replica:
    """One `peekaping-producer run` in `folder`; `before`: the words of a command that starts it."""

    def __init__(
        self, folder: Path, env: dict[str, str], *, log_folder: Path | None = None, before: Sequence[str] = ()
    ) -> None:
        self.log_file = (log_folder or folder) / f"replica-{time.monotonic_ns()}.log"
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-m", "peekaping_producer", "run"],
                env=env,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def lines(self) -> list[dict[str, object]]:
        """The log; every line must be JSON."""
        return [json.loads(line) for line in self.log_file.read_text().splitlines() if line.strip()]

    def events(self) -> list[str]:
        return [str(line["event"]) for line in self.lines()]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop it gracefully; returns its exit code."""
        self.process.send_signal(how)
        return self.process.wait(timeout=25)


@contextmanager
def replicas(folder: Path, env: dict[str, str], count: int = 1) -> Iterator[list[Replica]]:
    """`count` replicas, ended at the latest at the end of the block."""
    running = [Replica(folder, env) for _ in range(count)]
    try:
        yield running
    finally:
        for replica in running:
            if replica.process.poll() is None:
                replica.kill()


async def members(redis: Redis) -> set[str]:
    """Every monitor in the schedule, at one instant: between two commands all of them may change their set."""
    async with redis.pipeline(transaction=True) as pipe:
        pipe.zrange(KEYS.due, 0, -1)
        pipe.zrange(KEYS.lease, 0, -1)
        due, lease = await pipe.execute()
    assert not set(due) & set(lease)
    return {each.decode() for each in due + lease}


async def leader_pid(redis: Redis) -> int | None:
    """The process that leads, by the term's hostname-pid-random."""
    term = await redis.get(KEYS.leader)
    return int(term.decode().split("/")[0].rsplit("-", 2)[1]) if term else None


class Consumer:
    """Takes every task at once, finishes it, and counts (monitor, tick)."""

    def __init__(self, redis: Redis) -> None:
        self._peer = AsynqPeer(redis)
        self.ticks: Counter[tuple[str, int]] = Counter()
        self.payloads: dict[str, dict[str, object]] = {}
        self.made_by: dict[tuple[str, int], list[str]] = {}
        """Whose the tasks of each tick were: "python", or what a stand-in for another producer writes there."""

    def move_to(self, redis: Redis) -> None:
        """Take the next tasks from there; while it is not at work."""
        self._peer = AsynqPeer(redis)

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            message = await self._peer.dequeue(time.time())
            if message is None:
                await asyncio.sleep(0.005)
                continue
            payload = json.loads(message.payload)
            scheduled_at = datetime.fromisoformat(payload["scheduled_at"]).timestamp()
            tick = payload["monitor_id"], int(scheduled_at // payload["interval"])
            self.ticks[tick] += 1
            self.made_by.setdefault(tick, []).append(payload.get("made_by", "python"))
            self.payloads[payload["monitor_id"]] = payload
            await self._peer.finish(payload["monitor_id"])

    def doubled(self) -> list[tuple[str, int]]:
        return [each for each, count in self.ticks.items() if count > 1]

    def monitors(self) -> set[str]:
        return {monitor_id for monitor_id, _ in self.ticks}


@asynccontextmanager
async def at_work(consumer: Consumer) -> AsyncIterator[Consumer]:
    """The consumer takes tasks for the length of the block; what it saw stays in it.

    It finishes what is in its hand, as an asynq server does: a task that is left active runs again after a minute.
    """
    stop = asyncio.Event()
    running = asyncio.create_task(consumer.run(stop))
    try:
        yield consumer
        assert not running.done(), running.result()
    finally:
        stop.set()
        await asyncio.wait([running], timeout=5)
        await cancel_and_wait(running)


def row(monitor_id: str, *, interval: int = 60, active: bool = True, **columns: object) -> dict[str, object]:
    """A monitor as the API server writes it."""
    return {
        "id": monitor_id,
        "type": "http",
        "name": f"monitor {monitor_id[:8]}",
        "interval": interval,
        "timeout": 16,
        "max_retries": 3,
        "retry_interval": 60,
        "resend_interval": 0,
        "active": active,
        "config": msgspec.json.encode({"url": "https://example.com"}).decode(),
        **columns,
    }
