"""The command status: what it prints, and its exit codes."""

import asyncio
import json
import re
import time
from pathlib import Path

from redis.asyncio import Redis

from peekaping_producer.demo import embedded
from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.schedule.keys import KEYS
from tests.kit.commands import SECRET, command, settings_of
from tests.kit.fake_redis import fake_redis, info
from tests.kit.processes import free_port
from tests.kit.redis import target_of
from tests.kit.waiting import repeated


async def test_status_of_an_idle_schedule(tmp_path: Path, private_redis: RedisServer) -> None:
    text, as_json = await asyncio.gather(
        command(tmp_path, "status", **settings_of(target_of(private_redis))),
        command(tmp_path, "status", "--json", **settings_of(target_of(private_redis))),
    )
    assert (text.code, as_json.code) == (1, 1)  # no replica leads
    sentence, _, *lines = text.out.splitlines()
    assert sentence == "No replica runs: no replica has reported within the last minute."
    rows = dict(re.split(r" {2,}|(?<=max overdue) ", line, maxsplit=1) for line in lines)
    labels = [
        "time",
        "leader",
        "replicas",
        "scheduled",
        "overdue",
        "max overdue",
        "queue",
        "workers",
        "failing",
        "note",
    ]
    assert list(rows) == labels
    assert rows["leader"] == "none"
    assert rows["max overdue"].strip() == "none"
    assert rows["workers"] == "0 processes registered, 0 of 0 slots busy"
    assert rows["failing"].startswith("no_leader: ")
    document = json.loads(as_json.out)
    assert (document["verdict"]["code"], document["verdict"]["sentence"]) == ("no_replica", sentence)
    assert (document["version"], document["healthy"], document["due"], document["queue"]["pending"]) == (1, False, 0, 0)
    assert [condition["code"] for condition in document["conditions"]] == ["no_leader", "schedule_empty"]


async def test_status_prints_the_longest_overdue_and_exits_1_if_it_is_too_late(
    tmp_path: Path, private_redis: RedisServer, server: Redis
) -> None:
    now_ms = time.time() * 1000
    await server.zadd(KEYS.due, {"late": now_ms - 90_000, "later": now_ms - 10_000, "coming": now_ms + 300_000})
    await server.set(KEYS.leader, "here-1-ab/cd", px=50_000)
    await server.lpush("asynq:{healthcheck}:pending", "one", "two")
    where = settings_of(target_of(private_redis))

    async def report() -> None:
        await server.zadd(KEYS.lease, {"leased": time.time() * 1000 + 10_000})
        await server.hset(KEYS.replicas, "here-1-ab", f"{int(time.time() * 1000)} {{}}")

    await report()
    async with repeated(report):
        late, patient, as_json = await asyncio.gather(
            command(tmp_path, "status", **where),
            command(tmp_path, "status", "--max-overdue-seconds", "3600", **where),
            command(tmp_path, "status", "--json", "--max-overdue-seconds", "30.5", **where),
        )
    assert (late.code, patient.code, as_json.code) == (1, 0, 1)
    assert re.search(r"failing +schedule_late: Monitor late has waited for its check since [-\d: ]+; ", late.out), (
        late.out
    )
    assert "failing" not in patient.out
    for expected in (
        r"leader +here-1-ab/cd \(key expires in \d+\.\d s\)",
        r"scheduled +4 \(1 claimed\)",
        r"overdue +[23]",  # the claim counts once it is older than 2 s
        r"max overdue +\d+\.\d s",
        r"queue +2 pending, 0 active",
    ):
        assert re.search(expected, late.out), late.out
    document = json.loads(as_json.out)
    assert (document["due"], document["leased"], document["unclaimed"], document["healthy"]) == (3, 1, 2, False)
    assert 0 < document["leader_ttl_ms"] <= 50_000
    assert document["oldest_due_monitor"] == "late"
    assert document["queue"]["pending"] == 2


async def test_status_prints_what_will_be_due(tmp_path: Path, private_redis: RedisServer, server: Redis) -> None:
    minute_ms = (int(time.time()) // 60 + 5) * 60_000
    await server.zadd(KEYS.due, {f"m{n}": minute_ms for n in range(3)})
    where = settings_of(target_of(private_redis))
    text, as_json, without, bad = await asyncio.gather(
        command(tmp_path, "status", "--next", "10m", **where),
        command(tmp_path, "status", "--next", "10m", "--json", **where),
        command(tmp_path, "status", "--json", **where),
        command(tmp_path, "status", "--next", "2d", **where),
    )
    at = time.strftime("%H:%M:%S", time.gmtime(minute_ms / 1000))
    pattern = rf"^next +3 monitors due within 10 min; the fullest second: 3 at {at}, in (?:[34]\.\d|5\.0) min\.$"
    assert re.search(pattern, text.out, re.MULTILINE), text.out
    assert re.search(rf"^ +{at} 3 #{{40}}$", text.out, re.MULTILINE), text.out
    coming = json.loads(as_json.out)["next"]
    assert coming["fullest"] == {"at_ms": minute_ms, "monitors": 3}
    assert (coming["span_s"], coming["slot_s"], sum(coming["counts"]), len(coming["counts"])) == (600, 1, 3, 600)
    assert json.loads(without.out)["next"] is None
    assert (bad.code, bad.out) == (2, "")
    assert "--next: expected 1s to 1d, got '2d'" in bad.err


async def test_status_judges_leases_by_lease_ttl(tmp_path: Path, private_redis: RedisServer, server: Redis) -> None:
    await server.zadd(KEYS.lease, {"leased": time.time() * 1000 + 50_000})
    where = settings_of(target_of(private_redis))
    by_default, longer = await asyncio.gather(
        command(tmp_path, "status", **where), command(tmp_path, "status", **where, LEASE_TTL="60")
    )
    assert "lease_too_long" in by_default.out
    assert "lease_too_long" not in longer.out


async def test_status_without_redis_is_one_clear_line(tmp_path: Path) -> None:
    port = str(free_port())
    dying = {"INFO": info(redis_version="7.2.0", redis_mode="standalone"), "EVALSHA": None, "EVAL": None}
    async with (
        embedded.redis_server(args=("--requirepass", "another")) as closed,
        fake_redis(dying) as half,
        fake_redis({"INFO": None}) as mute,
    ):
        away, refused, bare, dies, hangs_up = await asyncio.gather(
            command(tmp_path, "status", REDIS_HOST="127.0.0.1", REDIS_PORT=port),
            command(tmp_path, "status", **settings_of(target_of(closed), REDIS_PASSWORD=SECRET)),
            command(tmp_path, "status", **settings_of(target_of(closed))),
            command(tmp_path, "status", **settings_of(half)),
            command(tmp_path, "status", **settings_of(mute)),
        )
    assert [ended.code for ended in (away, refused, bare, dies, hangs_up)] == [3, 1, 1, 3, 3]
    for ended in (away, refused, bare, dies, hangs_up):
        assert ended.out == ""
        assert len(ended.err.splitlines()) == 1, ended.err
        assert "h0rse" not in ended.err
    assert port in away.err
    assert "REDIS_PASSWORD" in refused.err
    assert "REDIS_PASSWORD" in bare.err


async def test_keys_of_another_type_are_one_clear_line(
    tmp_path: Path, private_redis: RedisServer, server: Redis
) -> None:
    await server.set(KEYS.due, "of another program")
    ended = await command(tmp_path, "status", **settings_of(target_of(private_redis)))
    assert ended.code == 1
    assert re.search(rf"unready +redis_keys_unusable: .*{KEYS.due}.*WRONGTYPE", ended.out), ended.out
