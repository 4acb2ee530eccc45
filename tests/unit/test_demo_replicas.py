"""How the demo starts, kills and restarts its replicas, and how it ends."""

import asyncio
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from peekaping_producer.demo.command import Command, CommandExitedError
from peekaping_producer.demo.monitors import replica as replica_module
from peekaping_producer.demo.monitors import run_demo, runner
from peekaping_producer.demo.monitors.failover import Failover
from peekaping_producer.demo.monitors.replica import Replica
from peekaping_producer.demo.monitors.runner import _kill_at
from peekaping_producer.errors import ConfigError
from tests.kit.waiting import until


@pytest.mark.parametrize(
    ("seconds", "kill_at"), [(5, None), (13.9, None), (14, 2), (16, 4), (18, 6), (30, 10), (60, 20)]
)
def test_the_leader_is_killed_after_a_third_of_the_time_if_possible(seconds: float, kill_at: float | None) -> None:
    assert _kill_at(seconds) == kill_at


def test_a_term_names_its_replica_by_its_pid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replica = Replica("replica 1", tmp_path, {})
    assert not replica.leads("host-77-1a2b/3c4d")
    monkeypatch.setattr(Replica, "pid", 77)
    assert replica.leads("my-77-host-77-1a2b/3c4d")
    assert not replica.leads("my-77-host-78-1a2b/3c4d")
    assert not replica.leads(None)


@pytest.mark.parametrize("seconds", [4, 0, -5, 86_401, float("inf"), float("nan")])
async def test_a_duration_out_of_range_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigError, match=f"^--seconds: expected 5 to 86400, got {seconds:g}$"):
        await run_demo(seconds)


class StandIn(Replica):
    """A replica without a process: only its pid changes."""

    def __init__(self, name: str, pid: int) -> None:
        super().__init__(name, Path(), {})
        self.now: int | None = pid

    @property
    def pid(self) -> int | None:
        return self.now

    def start(self) -> None:
        self.now = 99

    async def stop(self, *, kill: bool = False) -> None:
        assert kill
        self.now = None


async def test_the_leader_is_killed_once_and_comes_back_as_a_follower() -> None:
    first, second = StandIn("replica 1", 11), StandIn("replica 2", 22)
    announced: list[str] = []
    failover = Failover([first, second], announced.append, kill_at=4.0)
    of_first, of_second, of_its_return = ("host-11-a/b", "host-22-a/b", "host-99-a/b")
    await failover.step(3.9, 1_003_900, of_first)
    assert (first.pid, failover.killed_at_ms) == (11, None)
    await failover.step(4.1, 1_004_100, of_first)
    assert (first.pid, failover.killed_at_ms) == (None, 1_004_100)
    await failover.step(9.0, 1_009_000, of_first)  # the key of the killed leader has not expired
    assert failover.took_s is None
    assert failover.lasts
    await failover.step(10.1, 1_010_100, of_second)
    assert failover.took_s == pytest.approx(6.0)
    assert not failover.lasts
    assert announced[-1] == "leader killed at 4.1 s → new leader replica 2 after 6.0 s"
    await failover.step(12.2, 1_012_200, of_second)
    assert first.pid == 99
    await failover.step(20.0, 1_020_000, of_its_return)
    assert (first.pid, second.pid, len(announced)) == (99, 22, 3)


async def test_a_replica_that_exits_ends_the_demo_with_its_last_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(replica_module, "RUN", (sys.executable, "-c", "print('a bad setting'); raise SystemExit(2)"))
    with pytest.raises(CommandExitedError, match=r"replica [12] exited with code 2: a bad setting"):
        await run_demo(5)
    assert os.listdir(tmp_path) == []


async def test_the_demo_ends_though_its_consumer_misses_a_cancellation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As asyncio.wait_for may, before Python 3.12."""

    class IgnoresCancellation:
        def __init__(self, *_: object) -> None:
            pass

        async def run(self, _stop: asyncio.Event) -> None:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)
            await asyncio.sleep(3600)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(runner, "Consumer", IgnoresCancellation)
    monkeypatch.setattr(replica_module, "RUN", (sys.executable, "-c", "raise SystemExit(2)"))
    async with asyncio.timeout(60):
        with pytest.raises(CommandExitedError):
            await run_demo(5)


async def test_a_command_sees_none_of_the_shells_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "hunter2")
    command = Command("replica 1", tmp_path, ("env",), {"DB_TYPE": "sqlite"})

    def runs() -> bool:
        command.check_alive()
        return False

    command.start()
    with pytest.raises(CommandExitedError, match="code 0"):
        await until(runs)
    await command.stop()
    names = {line.partition("=")[0] for line in (tmp_path / "replica-1.log").read_text().splitlines()}
    assert {"DB_TYPE", "METRICS_ADDR", "PATH"} <= names
    assert "REDIS_PASSWORD" not in names
