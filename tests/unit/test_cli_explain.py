"""The command explain: what it prints, and its exit codes."""

import asyncio
import json
import os
import re
import sys
import termios
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis.asyncio import Redis

from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.migrate import migrate
from peekaping_producer.monitors.ticks import next_tick
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.targets import DatabaseTarget
from tests.kit import databases
from tests.kit.commands import MINIMAL, command, settings_of
from tests.kit.processes import free_port
from tests.kit.redis import target_of

DAY_S = 86_400
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202e\n" + "x" * 100


@pytest.fixture
async def where(tmp_path: Path, private_redis: RedisServer) -> dict[str, str]:
    """Settings of a database with monitors, and of an empty Redis."""
    target = DatabaseTarget(dialect="sqlite", name=str(tmp_path / "peekaping.db"))
    await migrate(target)
    async with databases.connected(target) as database:
        rows = (("aaaa1111", "edge cache, Oslo"), ("aaaa2222", "edge cache, Bergen"), ("bbbb1111", HOSTILE))
        for prefix, name in rows:
            id_, interval = f"{prefix}-1c61-4b8e-9a50-7e1f2b6c9d04", DAY_S if prefix == "aaaa1111" else 60
            await database.insert("monitors", database.monitor(id=id_, name=name, interval=interval))
    return settings_of(target_of(private_redis), DB_TYPE="sqlite", DB_NAME=target.name)


async def test_explain_by_prefix_name_and_in_json(tmp_path: Path, where: dict[str, str], server: Redis) -> None:
    id_ = "aaaa1111-1c61-4b8e-9a50-7e1f2b6c9d04"
    not_before_the_answers_ms = next_tick(int(time.time() * 1000) + 300_000, DAY_S)
    await server.zadd(KEYS.due, {id_: not_before_the_answers_ms})
    await server.set(KEYS.leader, "node/term", px=60_000)
    by_prefix, by_name, several, document, local = await asyncio.gather(
        command(tmp_path, "explain", "aaaa1", **where),
        command(tmp_path, "explain", "cache, oslo", **where),
        command(tmp_path, "explain", "edge cache", **where),
        command(tmp_path, "explain", "aaaa1", "--json", **where),
        command(tmp_path, "explain", "aaaa1", "--local", **where, TZ="Asia/Kathmandu"),
    )
    assert [ended.err for ended in (by_prefix, by_name, several, document, local)] == [""] * 5
    assert (by_prefix.code, by_name.code, several.code, document.code) == (0, 0, 2, 0)
    lines = by_prefix.out.splitlines()
    assert lines[0] == f"edge cache, Oslo  {id_}"
    assert lines[2].startswith("ok    Its checks are handed off on time. It is due at ")
    assert by_prefix.out.isascii()
    assert "UTC, by the clock of Redis" in lines[-1]
    assert "+0545, by the clock of Redis" in local.out
    assert by_name.out.splitlines()[0] == lines[0]
    assert several.out.splitlines()[0] == "2 monitors match 'edge cache'; name one by its id:"
    assert re.search(r"^  aaaa2222-\S+ +every 60 s +edge cache, Bergen$", several.out, re.MULTILINE)
    explained = json.loads(document.out)
    assert (explained["version"], explained["verdict"], explained["healthy"]) == (1, "ok", True)
    assert (explained["id"], explained["schedule"]["in"]) == (id_, ["due"])


@pytest.mark.parametrize("columns", [60, 80])
async def test_lines_are_wrapped_on_a_terminal_and_never_in_a_pipe(
    tmp_path: Path, where: dict[str, str], server: Redis, columns: int, terminal: tuple[int, int]
) -> None:
    ours, theirs = terminal
    termios.tcsetwinsize(theirs, (24, columns))
    words = (sys.executable, "-m", "peekaping_producer", "explain", "aaaa1")
    process = await asyncio.create_subprocess_exec(*words, cwd=tmp_path, env={**MINIMAL, **where}, stdout=theirs)
    assert await process.wait() == 1
    printed = os.read(ours, 65536).decode().splitlines()
    in_a_pipe = (await command(tmp_path, "explain", "aaaa1", **where)).out.splitlines()
    assert max(map(len, in_a_pipe)) > columns
    assert max(len(re.sub(r"\033\[[0-9;]*m", "", line)) for line in printed) <= columns
    assert len(printed) > len(in_a_pipe)


async def test_a_hostile_name_controls_no_terminal(tmp_path: Path, where: dict[str, str]) -> None:
    text, document, listed = await asyncio.gather(
        command(tmp_path, "explain", "bbbb", **where),
        command(tmp_path, "explain", "bbbb", "--json", **where),
        command(tmp_path, "explain", "x", **where),
    )
    for ended in (text, listed):
        assert "\x1b" not in ended.out
        assert "\u202e" not in ended.out
        assert "<img" in ended.out
    assert text.code == 1  # it is not in the schedule
    assert json.loads(document.out)["name"] == HOSTILE


async def test_what_does_not_answer_is_named(tmp_path: Path, where: dict[str, str], server: Redis) -> None:
    id_ = "aaaa1111-1c61-4b8e-9a50-7e1f2b6c9d04"
    port = str(free_port())
    no_database = where | {"DB_TYPE": "postgres", "DB_NAME": "none", "DB_HOST": "127.0.0.1", "DB_PORT": port}
    await server.zadd(KEYS.due, {id_: 0, id_.replace("1111", "2222"): 0})
    no_redis, by_id, by_name, unknown, by_prefix, several, document = await asyncio.gather(
        command(tmp_path, "explain", "aaaa1", **where | {"REDIS_PORT": port}),
        command(tmp_path, "explain", id_, **no_database, DB_USER="u", DB_PASS="p"),
        command(tmp_path, "explain", "edge", **no_database, DB_USER="u", DB_PASS="p"),
        command(tmp_path, "explain", "no such name", **where),
        command(tmp_path, "explain", "AAAA1", **no_database, DB_USER="u", DB_PASS="p"),
        command(tmp_path, "explain", "aaaa", **no_database, DB_USER="u", DB_PASS="p"),
        command(tmp_path, "explain", "aaaa", "--json", **no_database, DB_USER="u", DB_PASS="p"),
    )
    assert (by_prefix.code, several.code, document.code) == (3, 2, 2)
    assert by_prefix.out.splitlines()[0] == id_
    assert several.out.splitlines()[1] == f"  {id_}"
    assert json.loads(document.out)["candidates"][0]["id"] == id_
    assert (no_redis.code, by_id.code, by_name.code, unknown.code) == (3, 3, 3, 1)
    assert "FAIL  Redis cannot be read" in no_redis.out
    assert f"active, every {DAY_S} s" in no_redis.out
    assert re.search(r"^database +cannot be read: ", by_id.out, re.MULTILINE)
    assert "code: row.absent" in unknown.out
    assert by_name.out == ""
    assert len(by_name.err.splitlines()) == 1
    problem = "MONITOR: expected the id of a scheduled monitor, since the database does not answer, got 'edge'"
    assert problem in by_name.err


async def test_silent_monitors_are_listed(tmp_path: Path, where: dict[str, str]) -> None:
    target = DatabaseTarget(dialect="sqlite", name=where["DB_NAME"])
    ids = [f"{prefix}-1c61-4b8e-9a50-7e1f2b6c9d04" for prefix in ("aaaa1111", "aaaa2222", "bbbb1111")]
    now = datetime.now(UTC)
    async with databases.connected(target) as database:
        await database.insert("monitors", database.monitor(active=False))
        for id_, ago_s in zip(ids, (100, 200), strict=False):
            time = f"{now - timedelta(seconds=ago_s):%Y-%m-%d %H:%M:%S}"
            await database.insert("heartbeats", database.heartbeat({"id": id_}, time=time))
    text, document, both, neither = await asyncio.gather(
        command(tmp_path, "explain", "--silent", **where),
        command(tmp_path, "explain", "--silent", "--json", **where),
        command(tmp_path, "explain", "--silent", "aaaa", **where),
        command(tmp_path, "explain", **where),
    )
    assert (text.code, document.code, both.code, neither.code) == (1, 1, 2, 2)
    lines = text.out.splitlines()
    assert lines[0] == "No heartbeat in the last 3 intervals: 2 of 3 active monitors."
    assert re.match(rf"  {ids[1]}  every 60 s  latest .* ago\)  edge cache, Bergen$", lines[1])
    assert lines[2].startswith(f"  {ids[2]}  every 60 s  no heartbeat  ")
    assert "\x1b" not in text.out
    listed = json.loads(document.out)
    assert (listed["version"], listed["compared"], listed["silent"]) == (1, 3, 2)
    assert [one["id"] for one in listed["monitors"]] == ids[1:]
    for ended in (both, neither):
        assert "explain: MONITOR: expected a monitor or --silent" in ended.err
