"""The replicas: real processes behind proxies of their own, which may be killed, frozen and cut off."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from peekaping_producer.targets import DatabaseTarget
from tests.chaos.history import Claimed, Handed, Led, Recorder, Stopped
from tests.chaos.steps import Step, line_of
from tests.chaos.wire import StepProxy
from tests.kit.fault_proxy import FaultProxy
from tests.kit.replicas import ReplicaProcess, environment
from tests.kit.waiting import until

GRACE_S = 20.0
"""The product's default SHUTDOWN_GRACE."""


class Member:
    """One replica. Its process comes and goes; its name and its proxies stay."""

    def __init__(self, name: str, folder: Path, recorder: Recorder) -> None:
        self.name = name
        self.redis: StepProxy | None = None
        """None where it finds Redis by Sentinel, which names the server itself."""
        self.database: FaultProxy
        self.environment: dict[str, str] = {}
        self.logs: list[Path] = []
        self._folder = folder
        self._recorder = recorder
        self._replica: ReplicaProcess | None = None

    @property
    def pid(self) -> int:
        assert self._replica is not None, f"{self.name} does not run"
        return self._replica.process.pid

    @property
    def runs(self) -> bool:
        return self._replica is not None and self._replica.runs

    async def start(self, **settings: str) -> None:
        """Start the process, with further settings, and wait until it logs that it has."""
        self._replica = replica = ReplicaProcess(self._folder, self.environment | settings)
        self.logs.append(replica.log_file)
        await until(lambda: b'"producer.started"' in replica.log_file.read_bytes(), f"{self.name} starts", within_s=60)

    def kill(self) -> None:
        """SIGKILL."""
        assert self._replica is not None
        self._replica.kill()

    def freeze(self) -> None:
        """SIGSTOP, until thaw()."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def stop(self) -> None:
        """SIGTERM, and how it ended goes into the history."""
        assert self._replica is not None
        process, asked_at = self._replica.process, time.monotonic()
        process.send_signal(signal.SIGTERM)
        await until(lambda: process.poll() is not None, f"{self.name} stops", within_s=60)
        self._write_end("SIGTERM", time.monotonic() - asked_at)

    def note_death(self) -> None:
        """Record that it ended by itself, which no replica should."""
        self._write_end("", 0.0)

    def _write_end(self, signal_: str, took_s: float) -> None:
        assert self._replica is not None
        code = self._replica.process.returncode
        self._recorder.write(
            Stopped(producer=self.name, signal=signal_, exit=code, took_s=round(took_s, 3), grace_s=GRACE_S)
        )

    def seen(self, step: Step) -> None:
        """The proxy's report of what this replica did."""
        if line := line_of(step, self.name):
            self._recorder.write(msgspec.convert(line, Claimed | Handed | Led))


@asynccontextmanager
async def fleet(
    count: int,
    folder: Path,
    recorder: Recorder,
    *,
    redis_port: int,
    database: DatabaseTarget,
    settings: Mapping[str, str],
) -> AsyncIterator[list[Member]]:
    """`count` replicas that run, each behind its proxies; all have ended at the end of the block."""
    members: list[Member] = []
    try:
        for number in range(1, count + 1):
            member = Member(f"replica-{number}", folder, recorder)
            members.append(member)
            member.database = FaultProxy(database.port or 0)
            await member.database.up()
            port = redis_port
            if "REDIS_URL" not in settings:
                member.redis = StepProxy(redis_port)
                member.redis.seen = member.seen
                await member.redis.up()
                port = member.redis.port
            target = msgspec.structs.replace(database, port=member.database.port)
            member.environment = environment(port, target, **settings)
        await asyncio.gather(*(member.start() for member in members))
        yield members
    finally:
        for member in members:
            if member.runs:
                member.kill()
            for proxy in (member.redis, member.database):
                if proxy is not None:
                    await proxy.down()
