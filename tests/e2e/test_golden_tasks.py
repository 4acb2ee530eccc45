"""From the very rows that the Go producer read to the very task that it wrote, through the real stores."""

import base64
import json
from datetime import datetime
from typing import Any

import pytest

from peekaping_producer.brokers.asynq import encode_message
from peekaping_producer.stores import open_store
from peekaping_producer.task import HealthCheckTask, TaskBuilder
from tests.asynq_peer import decode
from tests.conformance.test_store_reads import _insert_golden
from tests.servers.databases import Database
from tests.vectors import vectors

GOLDEN = vectors("tasks")


async def built(database: Database, lines: list[dict[str, Any]]) -> dict[str, HealthCheckTask]:
    """The tasks of all these rows, read in one batch, each built at the instant of its golden one; by monitor."""
    oddities: list[tuple[str, str, str]] = []
    builder = TaskBuilder(server_zone="UTC", report=lambda *oddity: oddities.append(oddity))
    for line in lines:
        await _insert_golden(database, line["rows"])
    store = open_store(database.target, connections=1)
    await store.open()
    try:
        async with store.session() as session:
            loaded = await session.load([line["rows"]["monitor"]["id"] for line in lines])
    finally:
        await store.close()
    tasks = {}
    for line in lines:
        check = loaded.checks[line["rows"]["monitor"]["id"]]
        assert check.monitor.runs is (line["task"] is not None), line["case"]
        if line["task"]:
            (tasks[check.monitor.id],) = builder.build([check], instant_ms(line["task"]["payload"]["scheduled_at"]))
    assert oddities == []
    return tasks


def instant_ms(scheduled_at: str) -> int:
    return round(datetime.fromisoformat(scheduled_at).timestamp() * 1000)


@pytest.mark.parametrize("dialect", ["postgres", "sqlite"])
def test_the_golden_data_covers_what_matters(dialect: str) -> None:
    cases = {line["case"] for line in GOLDEN if line["db"] == dialect}
    assert {"http_min", "http_cert", "http_proxy_auth", "push_several", "http_maint_manual", "paused_tcp"} <= cases


async def test_every_task_equals_the_one_that_go_made_of_the_same_rows(database: Database) -> None:
    lines = [line for line in GOLDEN if line["db"] == database.target.dialect]
    tasks = await built(database, lines)
    running = [line for line in lines if line["task"]]
    assert len(tasks) == len(running) >= 9
    for line in running:
        golden = decode(base64.b64decode(line["task"]["msg_b64"]))
        task = tasks[line["rows"]["monitor"]["id"]]
        expected, found = json.loads(golden.payload), json.loads(task.payload)
        for name in expected.keys() | found.keys():  # one by one, for a failure that says which
            assert (name in found, found.get(name)) == (name in expected, expected.get(name)), (line["case"], name)
        # 1, 1.0 and true are equal to Python and not to Go; and the order of the fields is the same too.
        assert json.dumps(found) == json.dumps(expected), line["case"]
        message = decode(encode_message(task))
        for name in ("type", "id", "queue", "timeout"):
            assert getattr(message, name) == getattr(golden, name), (line["case"], name)
        assert message.payload == task.payload
        assert message.others == ()
