"""The verdicts of `explain`, in a state that real scripts and a real database have made. More: `test_explain_*.py`."""

import json
import re
from pathlib import Path

import pytest

from peekaping_producer.migrate import migrate
from peekaping_producer.operations.conditions import Condition
from peekaping_producer.operations.explain.codes import LEVELS, MonitorVerdict
from peekaping_producer.operations.explain.document import document_of
from peekaping_producer.operations.explain.text import candidate_lines, lines_of
from peekaping_producer.operations.explain.verdict import verdict_of
from peekaping_producer.operations.fleet_events import EDITED, SYNCED, FleetEvent, encode_event
from peekaping_producer.operations.heartbeat import FailingDependency, Heartbeat
from peekaping_producer.operations.moments import Moments
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.targets import DatabaseTarget, RedisTarget
from peekaping_producer.ui.monitors import monitor_document
from peekaping_producer.ui.rendering.monitor import monitor_view
from tests.kit import databases
from tests.kit.explained import DOCS, ID, Scene
from tests.kit.nodes import rows_of
from tests.kit.processes import free_port

REMOVED_MS = 1_795_662_600_000
"""03:10:00."""


async def test_absent(scene: Scene) -> None:
    assert await scene.verdict() == MonitorVerdict(
        "row.absent",
        "No monitor has this id, an id that begins with it, or a name that contains it.",
    )
    await scene.redis.zadd(KEYS.due, {ID: scene.clock.now_ms + 1000})
    assert (await scene.verdict()).remedy == "It is still in the schedule: the next sync of the leader removes it."


@pytest.mark.parametrize(
    ("event", "by"),
    [
        (
            FleetEvent(REMOVED_MS, SYNCED, f"A sync changed the schedule: 2 removed. Removed: m7, {ID}."),
            "A sync",
        ),
        (FleetEvent(REMOVED_MS, EDITED, "Events changed the schedule: 1 removed.", monitor_id=ID), "An edit"),
    ],
)
async def test_a_deleted_monitor_was_removed(scene: Scene, event: FleetEvent, by: str) -> None:
    other = FleetEvent(1_795_662_610_000, SYNCED, "A sync changed the schedule: 1 added. Added: m9.")
    await scene.schedule.stats(node="vm-b", report=b"{}", events=[encode_event(event), encode_event(other)])
    for text in (ID, ID[:6]):
        facts = (await scene.explain(text)).facts
        assert facts
        verdict = verdict_of(facts, Moments(facts.now_ms))
        assert (verdict.code, verdict.cause) == ("row.absent", "removed")
        assert verdict.remedy == f"{by} removed {ID} from the schedule at 03:10:00 (19.2 s ago)."
        assert [about.at_ms for about in facts.events] == [REMOVED_MS]


async def test_unreadable(scene: Scene) -> None:
    await scene.insert(timeout="pl4nted")
    await scene.place()
    verdict = await scene.verdict()
    assert (verdict.code, verdict.sentence) == (
        "row.unreadable",
        "Not checked, because its row cannot be used: timeout: expected an integer, got text.",
    )


async def test_paused(scene: Scene) -> None:
    await scene.insert(active=False)
    assert await scene.verdict() == MonitorVerdict(
        "row.paused",
        "Not checked, because it is paused in Peekaping (active = false).",
        "Resume it in Peekaping to check it again.",
    )
    await scene.place()
    assert (await scene.verdict()).remedy.endswith("It is still in the schedule, and leaves it at its next due time.")


async def test_no_interval(scene: Scene) -> None:
    await scene.insert(interval=0)
    assert await scene.verdict() == MonitorVerdict(
        "row.no_interval",
        "Not checked: interval: expected 1 to 9007199254740 whole seconds, got 0.",
        "Correct it in Peekaping.",
    )


async def test_waiting_for_a_table(scene: Scene, postgres_database: DatabaseTarget) -> None:
    await scene.place()
    await migrate(postgres_database)
    scene.database_target = postgres_database
    async with databases.connected(postgres_database) as database:
        await database.insert("monitors", database.monitor(id=ID, type="push"))
    async with databases.locked_table(postgres_database, "heartbeats"):
        facts = await scene.facts()
    verdict = verdict_of(facts, Moments(facts.now_ms))
    assert verdict.code == "row.waiting"
    assert verdict.sentence.startswith("Its check waits, because a table that its task needs does not answer: ")
    assert facts.row is not None
    assert facts.row.heartbeats is None


async def test_redis_away(scene: Scene) -> None:
    await scene.insert()
    scene.redis_target = RedisTarget(host="127.0.0.1", port=free_port())
    assert await scene.verdict() == MonitorVerdict(
        "redis.unavailable",
        "Redis cannot be read, so the schedule is not known; no check is handed off without Redis.",
        "See `redis` below.",
    )
    assert (await scene.explain()).exit_code == 3


async def test_database_away(scene: Scene) -> None:
    await scene.insert()
    await scene.place()
    failing = FailingDependency("database", ("worker",), scene.clock.now_ms - 30_000, "no answer")
    conditions = (Condition("database_unavailable", "The database does not answer."),)
    await scene.report(conditions=conditions, heartbeat=Heartbeat(failing=(failing,)))
    scene.database_target = DatabaseTarget(dialect="postgres", host="127.0.0.1", port=free_port(), name="none")
    verdict = await scene.verdict()
    assert (verdict.code, verdict.sentence) == (
        "database.unavailable",
        "The database cannot be read, so it is not known whether the monitor is active.",
    )
    assert verdict.remedy.startswith("It has failed for a replica since 03:09:49 (30.0 s ago).")
    facts = await scene.facts()
    text = "\n".join(lines_of(facts, verdict, Moments(facts.now_ms), "UTC"))
    assert "vm-b reports: The database does not answer." in text
    assert (await scene.explain()).exit_code == 3


@pytest.mark.parametrize(
    ("field", "code", "what", "remedy"),
    [
        (ID, "held", "it", "It is due again at its first tick after that, or after a release."),
        ("*", "held.all", "all monitors", "It is due once at that time, or after a release, and then at its ticks."),
    ],
    ids=["it", "all"],
)
async def test_held(scene: Scene, field: str, code: str, what: str, remedy: str) -> None:
    """The hold is written as it is documented."""
    await scene.insert()
    await scene.place()
    until_ms = scene.clock.now_ms + 600_000
    await scene.redis.hset(KEYS.held, field, json.dumps({"until_ms": until_ms, "who": "anna", "why": "migration"}))
    assert await scene.verdict() == MonitorVerdict(
        code,
        f'Not checked: anna holds {what} until 03:20:19 (in 10.0 min): "migration".',
        remedy,
        ends_ms=until_ms,
    )
    facts = await scene.facts()
    verdict, moments = verdict_of(facts, Moments(facts.now_ms)), Moments(facts.now_ms)
    lines = "\n".join(lines_of(facts, verdict, moments, "UTC"))
    assert "next ticks after the hold 03:21:00  03:22:00  03:23:00  03:24:00" in lines
    assert document_of(facts, verdict)["schedule"]["next"][0] == "2026-11-26T03:21:00.000Z"
    view = monitor_view(monitor_document(facts))
    rows = rows_of(["", *view.body])
    assert (view.code, view.held) == (code, field == ID)
    whom = "" if field == ID else "all monitors, "
    assert rows["Held"] == f"{whom}until 03:20:19 (in 10.0 min) by anna: migration"
    assert rows["Next ticks after the hold"].partition(",")[0] == "03:21:00"
    if field == ID:
        await scene.redis.zadd(KEYS.due, {ID: until_ms // 60_000 * 60_000 + 60_000})
        state = (await scene.facts()).state
        assert state is not None
        assert not state.misaligned, "a hold moved it there"
        await scene.place()
    await scene.clock.set(until_ms + 60_000)
    assert (await scene.verdict()).code == "due.late"


def test_every_verdict_is_documented_in_order_with_its_level() -> None:
    documented = re.findall(r"^\| `([a-z_.]+)` \| (ok|off|note|FAIL) \|", DOCS, re.MULTILINE)
    assert documented == [(code, level.value) for code, level in LEVELS.items()]


async def test_under_maintenance(scene: Scene) -> None:
    row = await scene.insert()
    await scene.place()
    window = scene.database.window()
    await scene.database.insert("maintenances", window)
    await scene.database.insert("monitor_maintenances", scene.database.link(row, window))
    assert await scene.verdict() == MonitorVerdict(
        "ok.maintenance",
        "Its checks are handed off on time. It is under maintenance, so that its checks raise no alert. "
        "It is due at 03:11:00 (in 40.8 s).",
    )


async def test_events_about_the_monitor_are_shown(scene: Scene) -> None:
    await scene.insert()
    await scene.place()
    at_ms = scene.clock.now_ms
    events = [FleetEvent(at_ms + n, "monitor.moved", f"Number {n}.", "vm-b", ID) for n in range(7)]
    other = FleetEvent(at_ms, "sync.completed", f"Not about {ID}.", "vm-b")
    await scene.schedule.stats(node="vm-b", report=b"{}", events=[encode_event(event) for event in (*events, other)])
    facts = await scene.facts()
    assert [event.message for event in facts.events] == ["Number 6.", "Number 5.", "Number 4.", "Number 3."]
    lines = lines_of(facts, await scene.verdict(), Moments(facts.now_ms), "UTC")
    assert "events       03:10:19 monitor.moved: Number 6." in lines


async def test_a_key_of_another_type_is_reported(scene: Scene) -> None:
    await scene.insert()
    await scene.redis.set(KEYS.due, "no sorted set")
    assert (await scene.verdict()).code == "redis.unavailable"
    explained = await scene.explain()
    assert explained.exit_code == 1
    assert explained.facts is not None
    assert "WRONGTYPE" in explained.facts.redis_error


async def test_names_of_which_several_match_are_listed(scene: Scene) -> None:
    for name in ("edge cache, Oslo", "edge cache, Bergen", "edge"):
        await scene.database.insert("monitors", scene.database.monitor(name=name))
    found = (await scene.explain("edge cache")).candidates
    lines = candidate_lines("edge cache", found)
    assert lines[0] == "2 monitors match 'edge cache'; name one by its id:"
    assert sorted(line.split("  ")[-1] for line in lines[1:]) == ["edge cache, Bergen", "edge cache, Oslo"]
    exact = (await scene.explain("edge")).facts
    assert exact is not None
    assert exact.row is not None
    assert exact.row.name == "edge"


async def test_on_time(scene: Scene) -> None:
    await scene.insert()
    await scene.place()
    assert await scene.verdict() == MonitorVerdict(
        "ok", "Its checks are handed off on time. It is due at 03:11:00 (in 40.8 s)."
    )
    assert (await scene.explain()).exit_code == 0


def test_a_test_of_these_modules_makes_each_verdict() -> None:
    source = "".join(path.read_text() for path in Path(__file__).parent.glob("test_explain*.py"))
    assert [code for code in LEVELS if f'"{code}"' not in source] == []
