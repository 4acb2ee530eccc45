"""The command events: what it prints, its exit codes, and how it follows."""

import asyncio
import json
import re
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from redis.asyncio import Redis

from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.operations.fleet_events import FleetEvent, encode_event
from peekaping_producer.schedule.keys import KEYS
from tests.kit.commands import MINIMAL, command, settings_of, start
from tests.kit.processes import free_port
from tests.kit.redis import target_of

ID = "3f0d5a9e-1c61-4b8e-9a50-7e1f2b6c9d04"
HOSTILE = "\x1b[2J\u202e<img src=x>"


async def add(
    server: Redis, kind: str, message: str, *, ago_s: float = 0.0, monitor_id: str | None = None, who: str = ""
) -> str:
    """Write an event as a replica does; returns its id."""
    event = FleetEvent(int(1000 * (time.time() - ago_s)), kind, message, "" if who else "vm-a-1-ab", monitor_id, who)
    entry = await server.xadd(KEYS.events, {"event": encode_event(event)})
    return entry.decode() if isinstance(entry, bytes) else entry


async def test_events_are_printed_the_oldest_first(tmp_path: Path, private_redis: RedisServer, server: Redis) -> None:
    await add(server, "leader.won", "vm-a-1-ab leads.", ago_s=7200)
    for malformed in ("", "{", "[]", "x" * 10_000):
        await server.xadd(KEYS.events, {"event": malformed})
    message = f"A sync changed the schedule: 7 removed (7 deleted). Removed: m1, {ID} and 5 more."
    await add(server, "schedule.synced", message, ago_s=7000)
    last = await add(server, "monitor.refused", HOSTILE, monitor_id=ID)
    where = settings_of(target_of(private_redis))
    every, recent, of_monitor, none, document, local = await asyncio.gather(
        command(tmp_path, "events", **where),
        command(tmp_path, "events", "--since", "1h", **where),
        command(tmp_path, "events", "--monitor", ID[:8], **where),
        command(tmp_path, "events", "--monitor", "dele", **where),
        command(tmp_path, "events", "--json", **where),
        command(tmp_path, "events", "--local", **where, TZ="Asia/Kathmandu"),
    )
    assert [ended.code for ended in (every, recent, of_monitor, none, document, local)] == [0] * 6
    first, synced, second = every.out.splitlines()
    assert re.fullmatch(r"(\S+ )?\d\d:\d\d:\d\d  leader\.won {12}vm-a-1-ab leads\.  \(vm-a-1-ab\)", first)
    assert second.isprintable()
    assert f"  monitor.refused       {ID}: " in second
    assert recent.out.splitlines() == [second]
    assert of_monitor.out.splitlines() == [synced, second]
    assert f"Removed: m1, {ID} and 5 more." in synced
    assert (none.out, none.err) == (
        "",
        "peekaping-producer: no such event is recorded; --monitor expects an id, or its beginning\n",
    )
    assert local.out.splitlines()[2] != second
    assert local.out.splitlines()[2][-40:] == second[-40:]
    printed = json.loads(document.out)
    assert (printed["version"], [event["kind"] for event in printed["events"]]) == (
        1,
        ["leader.won", "schedule.synced", "monitor.refused"],
    )
    event = printed["events"][2]
    assert (event["id"], event["replica"], event["monitor_id"]) == (last, "vm-a-1-ab", ID)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["at"])


async def test_what_a_person_asked_for_names_the_person(
    tmp_path: Path, private_redis: RedisServer, server: Redis
) -> None:
    await add(server, "monitor.run", "Due now.", monitor_id=ID, who="anna\x1b[2J")
    where = settings_of(target_of(private_redis))
    text, document = await asyncio.gather(
        command(tmp_path, "events", **where), command(tmp_path, "events", "--json", **where)
    )
    assert text.out.rstrip("\n").isprintable()
    assert "('anna" in text.out
    (event,) = json.loads(document.out)["events"]
    assert ("anna" in event["who"], event["replica"]) == (True, None)


async def test_more_events_than_one_reading_returns(tmp_path: Path, private_redis: RedisServer, server: Redis) -> None:
    for _ in range(500):
        await server.xadd(KEYS.events, {"event": "x" * 5001})
    await add(server, "leader.won", "after 500 that are too long")
    printed = await command(tmp_path, "events", **settings_of(target_of(private_redis)))
    assert "after 500 that are too long" in printed.out


async def test_no_events_and_no_redis(tmp_path: Path, private_redis: RedisServer) -> None:
    where = settings_of(target_of(private_redis))
    nothing, as_json, away, usage = await asyncio.gather(
        command(tmp_path, "events", **where),
        command(tmp_path, "events", "--json", **where),
        command(tmp_path, "events", REDIS_HOST="127.0.0.1", REDIS_PORT=str(free_port())),
        command(tmp_path, "events", "--since", "soon", **where),
    )
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "peekaping-producer: no event is recorded\n")
    assert (as_json.code, json.loads(as_json.out)["events"]) == (0, [])
    assert (away.code, away.out, len(away.err.splitlines())) == (3, "", 1)
    assert usage.code == 2
    assert "--since: expected a duration such as 90s, 10m or 1h, at most 3650d, got 'soon'" in usage.err


async def test_redis_that_refuses_the_stream(tmp_path: Path, private_redis: RedisServer, server: Redis) -> None:
    await server.execute_command("ACL", "SETUSER", "default", "-xrange")  # type: ignore[no-untyped-call]
    ended = await command(tmp_path, "events", **settings_of(target_of(private_redis)))
    assert (ended.code, ended.out) == (1, "")
    assert len(ended.err.splitlines()) == 1
    assert f"Redis refuses to read the stream {KEYS.events}: " in ended.err
    assert "see Permissions in docs/operations.md" in ended.err


@asynccontextmanager
async def following(folder: Path, private_redis: RedisServer, *options: str) -> AsyncIterator[Process]:
    argv = [sys.executable, "-m", "peekaping_producer", "events", "--follow", *options]
    process = await start(argv, {**MINIMAL, **settings_of(target_of(private_redis))}, folder)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    async with asyncio.timeout(30):
        return (await stream.readline()).decode().strip()


async def test_follow_begins_with_the_latest_and_prints_new_ones(
    tmp_path: Path, private_redis: RedisServer, server: Redis
) -> None:
    for number in range(12):
        await add(server, "leader.won", f"number {number}")
    async with following(tmp_path, private_redis, "--json") as process:
        latest = [json.loads(await line(process.stdout))["message"] for _ in range(10)]
        assert latest == [f"number {number}" for number in range(2, 12)]
        await add(server, "leader.ended", "new")
        new = json.loads(await line(process.stdout))
        assert (new["version"], new["kind"], new["message"]) == (1, "leader.ended", "new")
        process.terminate()
        assert await process.wait() == 143


async def test_follow_goes_on_after_redis_was_away(tmp_path: Path, private_redis: RedisServer, server: Redis) -> None:
    await add(server, "leader.won", "before")
    async with following(tmp_path, private_redis) as process:
        assert "before" in await line(process.stdout)
        await private_redis.stop()
        assert (await line(process.stderr)).startswith("peekaping-producer: Redis does not answer, waiting: ")
        await private_redis.start()
        assert re.fullmatch(r"peekaping-producer: Redis answers again after [\d.]+ (ms|s)", await line(process.stderr))
        await add(server, "leader.won", "after")
        assert "after" in await line(process.stdout)
