"""The commands run-now, hold and release: what they print, and their exit codes."""

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.migrate import migrate
from peekaping_producer.monitors.ticks import next_tick
from peekaping_producer.operations.fleet_events import decode_events
from peekaping_producer.schedule import Schedule
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.targets import DatabaseTarget
from tests.kit import databases
from tests.kit.commands import CommandResult, command, settings_of
from tests.kit.processes import free_port
from tests.kit.redis import target_of

HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202e\n" + "x" * 100
OSLO, BERGEN, EVIL, PAUSED = (
    f"{prefix}1111-1c61-4b8e-9a50-7e1f2b6c9d04" for prefix in ("aaaa", "bbbb", "cccc", "dddd")
)


@pytest.fixture
async def where(tmp_path: Path, private_redis: RedisServer, server: Redis) -> dict[str, str]:
    """Settings of a database with monitors, and of a Redis in which they are scheduled."""
    target = DatabaseTarget(dialect="sqlite", name=str(tmp_path / "peekaping.db"))
    await migrate(target)
    async with databases.connected(target) as database:
        rows = ((OSLO, "edge cache, Oslo"), (BERGEN, "edge cache, Bergen"), (EVIL, HOSTILE))
        for id_, name in rows:
            await database.insert("monitors", database.monitor(id=id_, name=name, interval=3600))
        await database.insert("monitors", database.monitor(id=PAUSED, name="paused one", active=False))
    not_during_a_test_ms = next_tick(int(time.time() * 1000) + 300_000, 3600)
    await server.zadd(KEYS.due, dict.fromkeys((OSLO, BERGEN, EVIL), not_during_a_test_ms))
    await server.set(KEYS.leader, "node/term", px=60_000)
    return settings_of(target_of(private_redis), DB_TYPE="sqlite", DB_NAME=target.name)


def document(ended: CommandResult) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ended.out)
    return found


async def test_one_bad_monitor_stops_no_other(tmp_path: Path, where: dict[str, str], server: Redis) -> None:
    words = ("run-now", "oslo", "edge cache", "cccc", "dddd", "no such", "bbb", "--because", "repaired", "--by", "anna")
    ended = await command(tmp_path, *words, **where)
    assert (ended.code, ended.err) == (2, "")
    assert ended.out.splitlines() == [
        f"ok    {OSLO}  edge cache, Oslo",
        "      It is due now. Its next tick stays where it is.",
        "FAIL  2 monitors match 'edge cache'; name one by its id:",
        f"      {OSLO}  every 3600 s    edge cache, Oslo",
        f"      {BERGEN}  every 3600 s    edge cache, Bergen",
        f"ok    {EVIL}  {HOSTILE!r}",
        "      It is due now. Its next tick stays where it is.",
        f"FAIL  {PAUSED}  paused one",
        "      It is paused in Peekaping (active = false).",
        "FAIL  'no such'",
        "      No monitor has this id, an id that begins with it, or a name that contains all of its words.",
        "FAIL  'bbb'",
        "      No monitor has a name that contains it; by id, only 4 or more characters are searched.",
    ]
    assert await server.zcount(KEYS.due, "-inf", time.time() * 1000) == 2
    details = await Schedule(server).look(events=10)
    (event, _) = decode_events(details.events)
    assert (event.kind, event.monitor_id, event.who) == ("monitor.run_now", OSLO, "anna")
    assert re.match(r'Made due now, asked for by anna \(command line on \S+\): "repaired"\.$', event.message)


async def test_hold_explain_and_release_a_monitor(tmp_path: Path, where: dict[str, str], server: Redis) -> None:
    hold = await command(tmp_path, "hold", "oslo", "--for", "2h", "--because", "disk swap", "--by", "anna", **where)
    assert (hold.code, hold.err) == (0, "")
    assert re.search(r"It is held until \S+, for 2 h; it is due at its first tick after that\.", hold.out)
    explained, refused, status = await asyncio.gather(
        command(tmp_path, "explain", "oslo", **where),
        command(tmp_path, "run-now", "oslo", "--json", **where),
        command(tmp_path, "status", "--json", **where),
    )
    assert explained.code == 0
    assert "off   Not checked: anna holds it until " in explained.out
    assert "monitor.held: Held for 2 h by anna (command line on " in explained.out
    (entry,) = document(refused)["monitors"]
    assert (refused.code, entry["code"], entry["done"], entry["id"]) == (1, "is_held", False, OSLO)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry["until"])
    assert (status.code, document(status)["held"]) == (0, 1)
    released = await command(tmp_path, "release", "oslo", "aaaa1", "--json", **where)
    assert released.code == 0, released.err
    entries = document(released)["monitors"]
    assert [(entry["monitor"], entry["code"]) for entry in entries] == [("oslo", "released"), ("aaaa1", "released")]
    assert not await server.exists(KEYS.held)


async def test_the_current_holds_are_listed(tmp_path: Path, where: dict[str, str], server: Redis) -> None:
    port = str(free_port())
    none = await command(tmp_path, "hold", **where)
    assert (none.code, none.out, none.err) == (0, "No monitor is held.\n", "")
    for text, why in (("oslo", "disk swap"), ("cccc", HOSTILE), ("--all", "migration")):
        ended = await command(tmp_path, "hold", text, "--for", "30m", "--because", why, "--by", "anna", **where)
        assert ended.code == 0, ended.err
    for id_, hold in (("ended", {"until_ms": 1, "who": "x", "why": "x"}), ("malformed", [])):
        await server.hset(KEYS.held, id_, json.dumps(hold))
    no_database = where | {"DB_TYPE": "postgres", "DB_NAME": "none", "DB_HOST": "127.0.0.1", "DB_PORT": port}
    listed, in_json, without_names, no_redis = await asyncio.gather(
        command(tmp_path, "hold", **where),
        command(tmp_path, "hold", "--json", **where),
        command(tmp_path, "hold", **no_database, DB_USER="u", DB_PASS="p"),
        command(tmp_path, "hold", **where | {"REDIS_PORT": port}),
    )
    assert [ended.code for ended in (listed, in_json, without_names, no_redis)] == [0, 0, 0, 3]
    on_all, on_oslo, on_evil = listed.out.splitlines()
    assert re.fullmatch(r'all monitors {26}until \S+ \(in \S+ min\), by anna: "migration"', on_all), on_all
    assert re.fullmatch(rf'{OSLO}  until \S+ \(in \S+ min\), by anna: "disk swap"  edge cache, Oslo', on_oslo), on_oslo
    assert "\x1b" not in on_evil
    found = document(in_json)
    assert (found["version"], [hold["id"] for hold in found["holds"]]) == (1, ["*", OSLO, EVIL])
    assert (found["holds"][1]["name"], found["holds"][1]["who"], found["errors"]) == (
        "edge cache, Oslo",
        "anna",
        {"database": None},
    )
    assert "Names are not known: " in without_names.out
    assert OSLO in without_names.out


async def test_hold_and_release_all(tmp_path: Path, where: dict[str, str], server: Redis) -> None:
    hold = await command(tmp_path, "hold", "--all", "--for", "5m", "--because", "migration", "--json", **where)
    assert hold.code == 0, hold.err
    found = document(hold)
    assert {key: found[key] for key in ("version", "act", "done", "recorded")} == {
        "version": 1, "act": "hold_all", "done": True, "recorded": True,
    }  # fmt: skip
    assert (found["monitors"][0]["id"], found["monitors"][0]["code"]) == ("*", "held")
    status = await command(tmp_path, "status", **where)
    assert status.code == 0, status.out
    assert re.match(r"Held by \S+ until \S+: \"migration\"\.\n", status.out), status.out
    assert "note        held: All monitors are held by " in status.out
    released = await command(tmp_path, "release", "--all", **where)
    assert (released.code, released.out) == (
        0,
        "ok    The hold on all monitors has ended. Holds on single monitors remain.\n",
    )
    await server.set(KEYS.leader, "go-4711", px=60_000)
    refused = await command(tmp_path, "hold", "--all", "--because", "migration", **where)
    assert (refused.code, refused.out) == (
        1,
        "FAIL  Not held: a Go producer seems to take part, and would ignore the hold (go-4711 leads without a term).\n",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("hold", "oslo"), "--because: expected a value, got none"),
        (("hold", "--because", "x"), "hold: MONITOR: expected monitors or --all, got neither"),
        (("hold", "oslo", "--all", "--because", "x"), "hold: MONITOR: expected monitors or --all, got both"),
        (("release",), "release: MONITOR: expected monitors or --all, got neither"),
        (("run-now",), "MONITOR: expected a value, got none"),
        (
            ("hold", "oslo", "--for", "10", "--because", "x"),
            "expected a duration such as 90s, 10m or 1h, at most 7d, got '10'",
        ),
        (
            ("hold", "oslo", "--for", "8d", "--because", "x"),
            "--for: expected 1s to 7d, got '8d'",
        ),
        (("hold", "--all", "--for", "2h", "--because", "x"), "--for: expected 1s to 1h, got '2h'"),
        (("run-now", "oslo", "--by", ""), "--by: expected a text, got ''"),
        (("hold", "oslo", "--because", " "), "--because: expected a text, got ' '"),
        (("release", "oslo", "--because", "x" * 201), "--because: expected at most 200 characters, got 201"),
        (("run-now", "oslo", ""), "MONITOR: expected a text, got ''"),
    ],
)
async def test_usage_errors(tmp_path: Path, where: dict[str, str], words: tuple[str, ...], message: str) -> None:
    away = {"REDIS_PORT": str(free_port())}  # nothing is opened
    ended = await command(tmp_path, *words, **where | away)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert len(ended.err.splitlines()) == 1


async def test_what_does_not_answer_is_named(tmp_path: Path, where: dict[str, str], server: Redis) -> None:
    port = str(free_port())
    no_database = where | {"DB_TYPE": "postgres", "DB_NAME": "none", "DB_HOST": "127.0.0.1", "DB_PORT": port}
    no_database |= {"DB_USER": "u", "DB_PASS": "p"}
    unscheduled = OSLO.replace("a", "e")
    no_redis, by_name, hold, absent, by_id, all_, by_prefix = await asyncio.gather(
        command(tmp_path, "run-now", "oslo", **where | {"REDIS_PORT": port}),
        command(tmp_path, "run-now", "oslo", **no_database),
        command(tmp_path, "hold", OSLO, "--because", "x", **no_database),
        command(tmp_path, "run-now", unscheduled, **no_database),
        command(tmp_path, "run-now", OSLO, **no_database),
        command(tmp_path, "release", "--all", **no_database),
        command(tmp_path, "run-now", "cccc", "oslo", "--json", **no_database),
    )
    codes = [ended.code for ended in (no_redis, by_name, hold, absent, by_id, all_, by_prefix)]
    assert codes == [3, 3, 3, 3, 0, 0, 3]
    assert by_name.out.splitlines()[0] == "FAIL  'oslo'"
    assert (
        "No scheduled monitor has this id, or an id that begins with it. Names cannot be searched without "
        in by_name.out
    )
    found, unknown = document(by_prefix)["monitors"]
    assert (found["id"], found["name"], found["done"]) == (EVIL, None, True)
    assert (unknown["id"], unknown["code"], unknown["done"]) == (None, "unknown", False)
    assert "Nothing was done, since the database does not answer and intervals are read from it: " in hold.err
    assert "cannot connect" in absent.out, "the cause, not the state of the store"
    for ended in (no_redis, hold):
        assert ended.out == ""
        assert len(ended.err.splitlines()) == 1, ended.err
    assert await server.zscore(KEYS.due, OSLO) or time.time() * 1000 >= 0
