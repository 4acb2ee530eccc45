"""The rows that the Go producer read give the task that it wrote, through the real stores."""

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from peekaping_producer.brokers.asynq import encode_message
from peekaping_producer.monitors.task import HealthCheckTask, TaskBuilder
from tests.conformance.conftest import DIALECTS, opened
from tests.kit.asynq_peer import decode
from tests.kit.databases import Database
from tests.kit.vectors import vectors

GoldenLine = dict[str, Any]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
GOLDEN = vectors("tasks")
GO_DIALECTS = [each for each in DIALECTS if each != "mysql"]
_UUID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def lines_of(dialect: str) -> list[GoldenLine]:
    return [plain(line) if dialect == "mongo" else line for line in GOLDEN if line["db"] == dialect]


def plain(value: Any) -> Any:
    """MongoDB's Extended JSON as values in the rows of the tests: ids and times as text, and the id as `id`."""
    match value:
        case {"$oid": inner}:
            return inner
        case {"$numberInt": inner}:
            return int(inner)
        case {"$date": {"$numberLong": inner}}:
            return (EPOCH + timedelta(milliseconds=int(inner))).isoformat(timespec="milliseconds")
        case dict():
            return {"id" if name == "_id" else name: plain(inner) for name, inner in value.items()}
        case list():
            return [plain(inner) for inner in value]
        case _:
            return value


async def insert(database: Database, line: GoldenLine) -> None:
    rows = line["rows"]
    monitor = dict(rows["monitor"])
    monitor.pop("config_typeof", None)
    if "config_text" in monitor:  # Postgres' text of its jsonb
        monitor["config"] = monitor.pop("config_text")
    if rows["proxy"]:
        await database.insert("proxies", rows["proxy"])
    await database.insert("monitors", monitor)
    for maintenance in rows["maintenances"]:
        await database.insert("maintenances", maintenance)
        await database.insert("monitor_maintenances", database.link(monitor, maintenance))
    if rows["latest_heartbeat"]:
        await database.insert("heartbeats", rows["latest_heartbeat"])


async def built(database: Database, lines: list[GoldenLine]) -> dict[str, HealthCheckTask]:
    """By monitor, the tasks of these rows, read in one batch, each built at the time of the golden task."""
    anomalies: list[tuple[str, str, str]] = []
    builder = TaskBuilder(server_zone="UTC", report=lambda *anomaly: anomalies.append(anomaly))
    for line in lines:
        await insert(database, line)
    async with opened(database) as store, store.session() as session:
        loaded = await session.load([line["rows"]["monitor"]["id"] for line in lines])
    tasks = {}
    for line in lines:
        details = loaded.monitors[line["rows"]["monitor"]["id"]]
        assert details.monitor.runs is (line["task"] is not None), line["case"]
        if line["task"]:
            (tasks[details.monitor.id],) = builder.build([details], instant_ms(line["task"]["payload"]["scheduled_at"]))
    assert anomalies == []
    return tasks


def instant_ms(scheduled_at: str) -> int:
    return (datetime.fromisoformat(scheduled_at) - EPOCH) // timedelta(milliseconds=1)


@pytest.mark.parametrize("dialect", GO_DIALECTS)
def test_the_golden_data_covers_what_matters(dialect: str) -> None:
    lines = [line for line in lines_of(dialect) if line["db"] == dialect]
    cases = {line["case"] for line in lines}
    assert {"http_min", "http_cert", "http_proxy_auth", "push_several", "http_maint_manual", "paused_tcp"} <= cases


@pytest.mark.parametrize("empty_database", GO_DIALECTS, indirect=True)
async def test_every_task_equals_the_one_that_go_built_from_the_same_rows(database: Database) -> None:
    lines = lines_of(database.target.dialect)
    tasks = await built(database, lines)
    running = [line for line in lines if line["task"]]
    assert len(tasks) == len(running) >= 8
    for line in running:
        golden = decode(base64.b64decode(line["task"]["msg_b64"]))
        task = tasks[line["rows"]["monitor"]["id"]]
        expected, found = json.loads(golden.payload), json.loads(task.payload)
        for name in expected.keys() | found.keys():  # one by one, so that a failure names the field
            assert (name in found, found.get(name)) == (name in expected, expected.get(name)), (line["case"], name)
        # 1, 1.0 and true are equal to Python and not to Go; and the order of the fields is the same too.
        assert json.dumps(found) == json.dumps(expected), line["case"]
        message = decode(encode_message(task))
        for name in ("type", "id", "queue", "timeout"):
            assert getattr(message, name) == getattr(golden, name), (line["case"], name)
        assert message.payload == task.payload
        assert message.others == ()


async def test_the_same_rows_give_the_same_payloads_in_every_database(database: Database) -> None:
    """Except for ids, the format of JSON, and digits of times that not every database keeps."""
    ids: dict[str, str] = {}

    def renamed(line: GoldenLine) -> GoldenLine:
        text = _UUID.sub(lambda found: ids.setdefault(found[0], database.new_id()), json.dumps(line))
        renamed_line: GoldenLine = json.loads(text)
        return renamed_line

    lines = [renamed(line) for line in lines_of("postgres")]
    tasks = await built(database, lines)
    assert len(tasks) >= 25
    for line in lines:
        if line["task"]:
            found = json.loads(tasks[line["rows"]["monitor"]["id"]].payload)
            assert comparable(found) == comparable(line["task"]["payload"]), line["case"]


def comparable(payload: dict[str, Any]) -> dict[str, Any]:
    """The payload with its config parsed, and times in ms."""
    beat = payload.get("last_heartbeat")
    if beat:
        beat = beat | {name: instant_ms(beat[name]) for name in ("time", "end_time")}
    return payload | {"config": json.loads(payload["config"]), "last_heartbeat": beat}
