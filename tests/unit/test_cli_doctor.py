"""The command doctor: what it prints, and its exit codes."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from redis.asyncio import Redis

from peekaping_producer.cli.main import main
from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.migrate import migrate
from peekaping_producer.operations.doctor.codes import CODES, CONDITION_CODES, VERDICT_CODES, Finding, Level
from peekaping_producer.operations.doctor.examination import Examination
from peekaping_producer.operations.doctor.redis_group import SLOW_ROUND_TRIP_S
from peekaping_producer.operations.doctor.report import lines_of
from peekaping_producer.targets import DatabaseTarget
from tests.kit import databases
from tests.kit.commands import ROOT, SECRET, command, settings_of
from tests.kit.processes import free_port
from tests.kit.redis import target_of
from tests.unit.test_docs import section

DOCS = (ROOT / "docs" / "doctor.md").read_text()
HOSTILE = "No/Where\x1b[31m\u202e<img src=x onerror=alert(1)>"


@pytest.fixture
async def where(tmp_path: Path, private_redis: RedisServer) -> dict[str, str]:
    """Settings of a database with a broken window, and of an empty Redis."""
    target = DatabaseTarget(dialect="sqlite", name=str(tmp_path / "peekaping.db"))
    await migrate(target)
    async with databases.connected(target) as database:
        await database.insert("maintenances", database.window(timezone=HOSTILE))
    return settings_of(target_of(private_redis), DB_TYPE="sqlite", DB_NAME=target.name)


async def test_doctor_prints_all_groups_as_words(tmp_path: Path, where: dict[str, str]) -> None:
    text, document = await asyncio.gather(
        command(tmp_path, "doctor", **where), command(tmp_path, "doctor", "--json", **where)
    )
    assert (text.code, document.code) == (1, 1)  # no replica runs, and no worker
    assert (text.err, document.err) == ("", "")
    assert text.out.isprintable() or "\x1b" not in text.out
    assert "\u202e" not in text.out
    lines = text.out.splitlines()
    assert all(re.match(r"(redis|database|fleet|workers| {5,8}) +(ok  |note|FAIL|[A-Z])", line) for line in lines[:-2])
    assert [line.split()[0] for line in lines if line and line[0] != " "][:4] == [
        "redis",
        "database",
        "fleet",
        "workers",
    ]
    assert re.search(r"^fleet +FAIL  No replica runs: .* \[fleet\.not_on_time\]$", text.out, re.MULTILINE)
    assert re.fullmatch(r"\d+ problems, \d+ notes\. Each code is explained in docs/doctor\.md\.", lines[-1])
    examined = json.loads(document.out)
    assert (examined["version"], examined["healthy"], examined["unreachable"]) == (1, False, False)
    assert examined["groups"] == ["redis", "database", "fleet", "workers"]
    codes = [found["code"] for found in examined["findings"]]
    assert {"redis.not_persistent", "database.window_broken", "fleet.no_leader", "workers.no_worker"} <= set(codes)
    assert examined["problems"] == sum(found["level"] == "problem" for found in examined["findings"])
    assert all(found["group"] == found["code"].partition(".")[0] for found in examined["findings"])


async def test_only_the_groups_asked_for(tmp_path: Path, where: dict[str, str]) -> None:
    redis_alone = {name: value for name, value in where.items() if name.startswith("REDIS")}
    database_alone = {name: value for name, value in where.items() if name.startswith("DB")}
    redis, database, both = await asyncio.gather(
        command(tmp_path, "doctor", "--only", "redis", **redis_alone),
        command(tmp_path, "doctor", "--only=database", **database_alone),
        command(tmp_path, "doctor", "--only", "workers, redis", "--json", **redis_alone),
    )
    assert (redis.code, database.code, both.code) == (0, 0, 1), redis.out + database.out + both.out
    assert redis.out.startswith("redis ")
    assert "database" not in redis.out
    assert database.out.startswith("database ")
    assert json.loads(both.out)["groups"] == ["redis", "workers"]


async def test_what_does_not_answer_stops_no_other_group(tmp_path: Path, where: dict[str, str]) -> None:
    port = str(free_port())
    away = {"DB_TYPE": "postgres", "DB_NAME": "none", "DB_HOST": "127.0.0.1", "DB_PORT": port, "DB_USER": "u"}
    no_redis, no_database = await asyncio.gather(
        command(tmp_path, "doctor", **where | {"REDIS_PORT": port, "REDIS_PASSWORD": SECRET}),
        command(tmp_path, "doctor", "--json", **where | away, DB_PASS=SECRET),
    )
    assert (no_redis.code, no_database.code) == (3, 3)
    for ended in (no_redis, no_database):
        assert SECRET.split()[0] not in ended.out + ended.err
    for group in ("redis", "fleet", "workers"):
        assert re.search(rf"^{group} +FAIL .*\[{group}\.unreachable\]$", no_redis.out, re.MULTILINE), no_redis.out
    assert re.search(r"^database +ok  ", no_redis.out, re.MULTILINE)
    codes = {found["code"] for found in json.loads(no_database.out)["findings"]}
    assert {"database.unreachable", "redis.server", "fleet.not_on_time", "workers.queue"} <= codes


async def test_a_full_redis_is_examined(tmp_path: Path, where: dict[str, str], server: Redis) -> None:
    await server.config_set("maxmemory", 1)
    ended = await command(tmp_path, "doctor", "--only", "redis,fleet", **where)
    assert ended.code == 1
    assert "[redis.memory_short]" in ended.out
    assert "[fleet.redis_refuses_writes]" in ended.out


@pytest.mark.parametrize("groups", ["redis,sql", "", "redis,,fleet"])
def test_groups_that_do_not_exist(capsys: pytest.CaptureFixture[str], groups: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["doctor", f"--only={groups}"])
    assert "--only: expected some of redis, database, fleet, workers, got" in capsys.readouterr().err


def test_marks_are_words_and_colors_are_added() -> None:
    found = (
        Finding("redis.evicts", Level.PROBLEM, f"a {HOSTILE}.", "Do this."),
        Finding("redis.server", Level.OK, "Version 8."),
    )
    plain, colored = (lines_of(Examination(("redis",), found), color=color) for color in (False, True))
    assert plain[1:] == [
        "                   Do this.",
        "             ok    Version 8.",
        "",
        "1 problem, 0 notes. Each code is explained in docs/doctor.md.",
    ]
    assert plain[0].startswith("redis        FAIL  'a No/Where\\x1b")
    assert plain[0].endswith("[redis.evicts]")
    assert "\033[31mFAIL\033[0m" in colored[0]
    assert "\033[32mok  \033[0m" in colored[2]
    assert lines_of(Examination((), ()))[-1] == "0 problems, 0 notes."


def test_long_lines_are_wrapped_to_a_terminal() -> None:
    found = Finding("redis.evicts", Level.PROBLEM, "word " * 30 + "end.", "x" * 90)
    lines = lines_of(Examination(("redis",), (found,)), width=80)[:-2]
    assert all(len(line) <= 80 for line in lines[:-1])
    assert all(line.startswith(" " * 19) and line[19] != " " for line in lines[1:])
    assert lines[-1].strip() == "x" * 90
    assert " ".join(line[19:] for line in lines[:-1]) == "word " * 30 + "end. [redis.evicts]"


def test_every_code_is_documented_with_its_level_and_remedy() -> None:
    rows = re.findall(r"^\| `([a-z_.]+)` \| (\w+) \| [^|]+ \|([^|]*)\|$", section(DOCS, "Findings"), re.MULTILINE)
    documented = {code: (level, remedy.strip()) for code, level, remedy in rows}
    derived = CONDITION_CODES.keys() | VERDICT_CODES.keys()
    assert documented == {code: (kind.level.value, kind.remedy) for code, kind in CODES.items() if code not in derived}
    assert len(rows) == len(documented)


def test_the_limit_of_a_slow_round_trip_is_documented() -> None:
    assert f"| `redis.slow` | note | the median is over {1000 * SLOW_ROUND_TRIP_S:g} ms |" in DOCS


def test_remedies_begin_with_what_to_do() -> None:
    derived = {**CONDITION_CODES, **VERDICT_CODES}
    page_alone = {code for code, kind in derived.items() if kind.remedy.startswith("See ")}
    assert page_alone == {
        f"fleet.{code}"
        for code in (
            "draining",
            "redis_unavailable",
            "redis_refuses_writes",
            "broker_unavailable",
            "leader_key_invalid",
            "foreign_leader",
        )
    }
    assert derived["workers.no_worker"].remedy == (
        "Start Peekaping's workers. See no_worker under Verdict in docs/operations.md."
    )


def test_every_code_is_made_by_a_test() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*doctor*.py"))
    derived = CONDITION_CODES.keys() | VERDICT_CODES.keys()
    assert {code for code in CODES.keys() - derived if f'"{code}"' not in tests} <= {
        f"{group}.{kind}" for group in ("fleet", "workers") for kind in ("unreachable", "unusable", "check_failed")
    } | {"database.check_failed"}
