"""Real replicas as processes, and what they share."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from redis.asyncio import Redis

from peekaping_producer.demo.embedded import HOST
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.targets import DatabaseTarget
from tests.kit import http
from tests.kit.commands import MINIMAL
from tests.kit.log_lines import log_lines
from tests.kit.waiting import until

RUN = (sys.executable, "-m", "peekaping_producer", "run")


def environment(redis_port: int, database: DatabaseTarget, **settings: str) -> dict[str, str]:
    """The seed's variables, as an existing deployment sets them, and nothing of this shell's."""
    parts = {"DB_TYPE": database.dialect, "DB_NAME": database.name}
    if database.dialect == "mongo" and not database.user:  # the parts always name a user
        parts = {"DATABASE_URL": f"mongodb://{database.host}:{database.port}/{database.name}"}
    elif database.dialect != "sqlite":
        parts |= {"DB_HOST": database.host or "", "DB_PORT": str(database.port)}
        parts |= {"DB_USER": database.user or "", "DB_PASS": database.password or ""}
    redis = {"REDIS_HOST": HOST, "REDIS_PORT": str(redis_port)}
    return {**MINIMAL, **redis, "METRICS_ADDR": "off", **parts, **settings}


class ReplicaProcess:
    """One `peekaping-producer run` in `folder`, or another producer by its `argv`. Without `logs` it logs nowhere."""

    def __init__(
        self,
        folder: Path,
        env: dict[str, str],
        *,
        log_folder: Path | None = None,
        argv: Sequence[str | Path] = RUN,
        logs: bool = True,
    ) -> None:
        self.log_file = (log_folder or folder) / f"replica-{time.monotonic_ns()}.log" if logs else Path(os.devnull)
        self.asked_to_end = False
        self._address = env.get("METRICS_ADDR", "off")
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                argv, env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def lines(self, event: str | None = None) -> list[dict[str, object]]:
        """The log, or its lines of one event; every line must be JSON."""
        return [line for line in log_lines(self.log_file) if event in (None, line["event"])]

    def events(self) -> list[str]:
        return [str(line["event"]) for line in self.lines()]

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page that it serves at METRICS_ADDR; port 0 is looked up in its log."""
        address = self._address
        if address.endswith(":0"):
            await until(lambda: "health.listening" in self.events(), "it serves its pages")
            (listening,) = self.lines("health.listening")
            address = f"{HOST}:{listening['port']}"
        return await http.get(address, path)

    def kill(self) -> None:
        self.asked_to_end = True
        self.process.kill()
        self.process.wait()

    def terminate(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop it gracefully; returns its exit code."""
        self.asked_to_end = True
        self.process.send_signal(how)
        return self.process.wait(timeout=60)


@contextmanager
def replicas(folder: Path, *environments: dict[str, str], logs: bool = True) -> Iterator[list[ReplicaProcess]]:
    """A replica for each environment, all killed at the end of the block, with those that the block appends."""
    running: list[ReplicaProcess] = []
    try:
        running += (ReplicaProcess(folder, env, logs=logs) for env in environments)
        yield running
    finally:
        for replica in running:
            replica.process.kill()
        for replica in running:
            replica.process.wait()


async def members(redis: Redis) -> set[str]:
    """Every monitor in the schedule, at one instant: between two commands all of them may change their set."""
    async with redis.pipeline(transaction=True) as pipe:
        pipe.zrange(KEYS.due, 0, -1)
        pipe.zrange(KEYS.lease, 0, -1)
        due, lease = await pipe.execute()
    assert not set(due) & set(lease)
    return {id_.decode() for id_ in due + lease}


async def leader_pid(redis: Redis) -> int | None:
    """The process that leads, by the term's hostname-pid-random."""
    term = await redis.get(KEYS.leader)
    return int(term.decode().split("/")[0].rsplit("-", 2)[1]) if term else None
