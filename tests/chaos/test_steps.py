"""The lines of a history, out of the product's own calls."""

import pytest

from peekaping_producer.brokers import Outcome
from peekaping_producer.errors import StaleTermError
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.schedule import ALL_MONITORS, CampaignOutcome, Member, Steering
from peekaping_producer.schedule.keys import KEYS
from tests.chaos.conftest import Wire
from tests.chaos.steps import Step, line_of
from tests.kit.asynq_peer import task_key
from tests.kit.scripts import SCRIPT_NAMES


def lines(wire: Wire) -> list[object]:
    return [line for step in wire.seen if (line := line_of(step, "a"))]


def tasks(*ids: str) -> list[HealthCheckTask]:
    return [HealthCheckTask(each, 60, 16, b"{}") for each in ids]


def test_every_script_of_a_producer_is_known() -> None:
    assert sorted(SCRIPT_NAMES.values()) == [
        *("campaign", "claim", "compare", "drop", "expel", "give_back", "hand_off", "hold", "inspect_pending", "look"),
        *("monitor_state", "move", "place", "queue", "reclaim", "release", "remove", "request_sync", "reschedule"),
        *("resign", "run_now", "stats", "sweep_pending", "task_kinds"),
    ]


async def test_a_claim_records_its_token_and_the_due_time_of_each_monitor(wire: Wire) -> None:
    await wire.redis.zadd(KEYS.due, {"a": 1000, "b": 2000.5, b"\xff": -7})
    claim = await wire.schedule.claim(10)
    due = {"\\xff": 0.0, "a": 1000.0, "b": 2000.5}
    assert lines(wire) == [{"kind": "claimed", "producer": "a", "token": claim.token, "monitors": due}]


async def test_a_claim_of_nothing_makes_no_line(wire: Wire) -> None:
    await wire.schedule.claim(10)
    assert [step.script for step in wire.seen] == ["claim"]
    assert lines(wire) == []


async def test_a_hand_off_records_the_outcome_of_each_monitor(wire: Wire) -> None:
    await wire.due("fresh", "stuck", "taken")
    await wire.redis.set(task_key("stuck"), "no hash")
    claim = await wire.schedule.claim(10)
    await wire.redis.zrem(KEYS.lease, "taken")
    handed = await wire.broker.hand_off(claim, tasks("fresh", "stuck", "taken"))
    assert handed.not_enqueued == {"stuck": Outcome.REPLACED, "taken": Outcome.LOST}
    outcomes = {"fresh": "enqueued", "stuck": "replaced", "taken": "lost"}
    assert lines(wire)[1:] == [{"kind": "handed", "producer": "a", "token": claim.token, "outcomes": outcomes}]


async def test_each_write_of_a_leader_records_its_term_and_whether_it_was_accepted(wire: Wire) -> None:
    assert (await wire.schedule.campaign("", "t2", 30)).outcome is CampaignOutcome.WON
    plans = {"a": Plan("a", 60)}
    members_seen = [Member("a", "5000000000001")]

    async def write(term: str) -> None:
        """Place, move and remove, each of which has something to do."""
        await wire.schedule.place(term, plans.values())
        await wire.redis.zadd(KEYS.due, {"a": 5_000_000_000_001})
        assert await wire.schedule.move(term, members_seen, plans) == 1
        await wire.redis.zadd(KEYS.due, {"a": 5_000_000_000_001})
        assert await wire.schedule.remove(term, KEYS.due, members_seen) == 1

    await write("t2")
    for call in (
        wire.schedule.place("t1", plans.values()),
        wire.schedule.move("t1", members_seen, plans),
        wire.schedule.remove("t1", KEYS.due, members_seen),
    ):
        with pytest.raises(StaleTermError):
            await call
    assert lines(wire) == [
        {"kind": "led", "producer": "a", "term": term, "script": script, "accepted": term == "t2"}
        for term in ("t2", "t1")
        for script in ("place", "move", "remove")
    ]


async def test_an_act_records_who_did_what_and_when(wire: Wire) -> None:
    anna = Steering(wire.schedule.redis)
    await wire.redis.zadd(KEYS.due, {"a": 5_000_000_000_000, "b": 5_000_000_000_000})
    replies = [
        await anna.run_now(["a", "gone"]),
        await anna.hold([Plan("b", 60)], 30, b'{"who":"anna"}'),
        await anna.hold([Plan(ALL_MONITORS, 1)], 20, b'{"who":"anna"}'),
        await anna.release([Plan(ALL_MONITORS, 1), Plan("b", 60), Plan("c", 60)]),
    ]
    expected: list[dict[str, object]] = [
        {"act": "run_now", "outcomes": {"a": "due_now", "gone": "absent"}},
        {"act": "hold", "outcomes": {"b": "held"}, "until_ms": replies[1].now_ms + 30_000},
        {"act": "hold", "outcomes": {"*": "held"}, "until_ms": replies[2].now_ms + 20_000},
        {"act": "release", "outcomes": {"*": "released", "b": "released", "c": "not_held"}},
    ]
    assert [line_of(step, "anna") for step in wire.seen] == [
        {"kind": "acted", "who": "anna", "redis_ms": reply.now_ms, **rest}
        for reply, rest in zip(replies, expected, strict=True)
    ]


async def test_steps_that_have_no_line(wire: Wire) -> None:
    await wire.due("a", "b")
    claim = await wire.schedule.claim(10)
    wire.seen.clear()
    await wire.schedule.drop(claim, ["a"])
    await wire.schedule.give_back(claim)
    await wire.schedule.reclaim()
    await wire.schedule.stats()
    await wire.schedule.resign("t")
    await wire.broker.sweep()
    names = ["drop", "give_back", "reclaim", "stats", "resign", "inspect_pending"]
    assert [step.script for step in wire.seen] == names
    assert lines(wire) == []


def test_a_refusal_makes_no_line_and_a_step_without_an_answer_has_no_reply() -> None:
    assert line_of(Step("claim", [], [], b"-OOM command not allowed\r\n"), "a") is None
    with pytest.raises(ValueError, match="claim has no answer yet"):
        line_of(Step("claim", [], []), "a")
