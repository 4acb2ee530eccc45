"""Who leads, and that it ends when it should."""

import asyncio
import time
from types import SimpleNamespace

import pytest
from redis.asyncio import Redis

from peekaping_producer.errors import RedisUnavailableError, StaleTermError
from peekaping_producer.metrics import Metrics
from peekaping_producer.operations.fleet_events import decode_events
from peekaping_producer.producer.event_recorder import EventRecorder
from peekaping_producer.producer.loops import leader as leader_module
from peekaping_producer.producer.loops.leader import Leader, node_id
from peekaping_producer.producer.timing import Timing
from peekaping_producer.schedule import Schedule, StoredEvent
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.dependencies import Dependencies
from tests.kit.waiting import until


class Terms:
    """Stands in for what a leader does; remembers its terms."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.fail_with: Exception | None = None

    async def lead(self, term: str) -> None:
        self.begun.append(term)
        try:
            if self.fail_with:
                raise self.fail_with
            await asyncio.Event().wait()
        finally:
            self.ended.append(term)


@pytest.fixture
def schedule(redis: Redis) -> Schedule:
    return Schedule(redis)


def make(
    schedule: Schedule,
    node: str,
    *,
    spread_ticks: bool = False,
    recorder: EventRecorder | None = None,
    **timing: float,
) -> tuple[Leader, Terms, Metrics]:
    terms, metrics = Terms(), Metrics()
    leader = Leader(
        schedule,
        terms.lead,
        recorder or EventRecorder(),
        metrics,
        Dependencies(metrics),
        node=node,
        spread_ticks=spread_ticks,
        timing=Timing(**timing),
    )
    return leader, terms, metrics


def test_two_replicas_with_the_same_hostname_and_pid_differ() -> None:
    assert node_id() != node_id()


async def test_one_of_two_leads_and_a_clean_stop_hands_over_before_the_key_expires(
    redis: Redis, schedule: Schedule
) -> None:
    first, first_terms, metrics = make(schedule, "a")
    second, second_terms, _ = make(schedule, "b")
    running = asyncio.create_task(first.run())
    await until(lambda: bool(first_terms.begun))
    waiting = asyncio.create_task(second.run())
    assert (await redis.get(KEYS.leader) or b"").startswith(b"a/")
    assert metrics.registry.get_sample_value("peekaping_producer_is_leader") == 1

    await cancel_and_wait(running)
    await until(lambda: bool(second_terms.begun), within_s=8)
    assert first_terms.ended == first_terms.begun
    assert metrics.registry.get_sample_value("peekaping_producer_is_leader") == 0
    await cancel_and_wait(waiting)
    assert await redis.exists(KEYS.leader) == 0


@pytest.mark.parametrize(("ends", "how"), [("resigned", "which resigned"), ("expired", "whose key expired")])
async def test_the_event_names_whom_a_leader_follows(
    redis: Redis, schedule: Schedule, monkeypatch: pytest.MonkeyPatch, ends: str, how: str
) -> None:
    recorder = EventRecorder()
    first, _, _ = make(schedule, "a", recorder=recorder, renew_every_s=0.01)
    second, _, _ = make(schedule, "b", recorder=recorder, renew_every_s=0.01)
    await first.run_once()
    await second.run_once()
    assert first.term
    if ends == "resigned":
        await schedule.resign(first.term)
    else:  # its key is gone after its TTL of 10 s
        await redis.delete(KEYS.leader)
        monkeypatch.setattr(leader_module, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + 11))
    await second.run_once()
    events = decode_events(StoredEvent("", text) for text in recorder.encoded("a", lambda _: 0))
    found = [event.message for event in events if event.kind == "leader.won"]
    assert found == [
        "a leads; no other replica led, as far as it has seen.",
        f"b leads, and follows a, {how}.",
    ]
    for leader in (first, second):
        await leader._stop_leading("stopped")


@pytest.mark.parametrize("held", [False, True])
async def test_a_won_campaign_whose_answer_was_lost_is_led_after_the_next(
    redis: Redis, schedule: Schedule, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    """Otherwise no replica would lead until that key expires."""
    leader, terms, _ = make(schedule, "a", renew_every_s=0.01 if held else 5.0)
    if held:  # and the key of that term vanishes
        await leader.run_once()
        await redis.delete(KEYS.leader)
    campaign = schedule.campaign

    async def unanswered(*args: object, **options: object) -> None:
        await campaign(*args, **options)
        raise RedisUnavailableError("Timeout reading from socket")

    monkeypatch.setattr(schedule, "campaign", unanswered)
    with pytest.raises(RedisUnavailableError):
        await leader.run_once()
    monkeypatch.setattr(schedule, "campaign", campaign)
    running = asyncio.create_task(leader.run())
    won = await redis.get(KEYS.leader) or b""
    await until(lambda: bool(terms.begun) and terms.begun[-1] == won.decode(), within_s=8)
    assert leader.term == won.decode()
    await cancel_and_wait(running)
    assert terms.ended == terms.begun


async def test_who_stops_with_a_campaign_unanswered_leaves_no_key(
    redis: Redis, schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, _, _ = make(schedule, "a")
    campaign, asked = schedule.campaign, asyncio.Event()

    async def unanswered(*args: object, **options: object) -> None:
        await campaign(*args, **options)
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(schedule, "campaign", unanswered)
    running = asyncio.create_task(leader.run())
    await asked.wait()
    assert await redis.exists(KEYS.leader)
    await cancel_and_wait(running)
    assert not await redis.exists(KEYS.leader)


async def test_a_key_that_vanished_begins_a_new_term(redis: Redis, schedule: Schedule) -> None:
    leader, terms, _ = make(schedule, "a", renew_every_s=0.05)
    running = asyncio.create_task(leader.run())
    await until(lambda: len(terms.begun) == 1)
    await redis.flushdb()
    await until(lambda: len(terms.begun) == 2)
    assert terms.begun[0] != terms.begun[1]
    assert terms.ended == terms.begun[:1]
    await cancel_and_wait(running)


async def test_a_leader_that_may_not_lead_resigns_and_campaigns_no_more(redis: Redis, schedule: Schedule) -> None:
    leader, terms, _ = make(schedule, "a", renew_every_s=0.01)
    await leader.run_once()
    await until(lambda: bool(terms.begun))
    leader._may_lead = lambda: False
    for _ in range(2):
        await leader.run_once()
        assert (leader.term, terms.ended) == (None, terms.begun)
        assert not await redis.exists(KEYS.leader)
    leader._may_lead = lambda: True
    await leader.run_once()
    assert leader.term


async def test_a_refused_write_ends_the_term_and_a_new_one_begins(redis: Redis, schedule: Schedule) -> None:
    leader, terms, _ = make(schedule, "a")
    terms.fail_with = StaleTermError("stale")
    await leader.run_once()
    await until(lambda: bool(terms.ended))
    await redis.delete(KEYS.leader)
    terms.fail_with = None
    running = asyncio.create_task(leader.run())
    await until(lambda: len(terms.begun) == 2)
    await cancel_and_wait(running)


async def test_a_usurped_leader_steps_back(redis: Redis, schedule: Schedule) -> None:
    leader, terms, _ = make(schedule, "a", renew_every_s=0.05)
    running = asyncio.create_task(leader.run())
    await until(lambda: bool(terms.begun))
    await redis.set(KEYS.leader, "go-peer-1", px=60_000)
    await until(lambda: bool(terms.ended))
    assert leader.term is None
    await cancel_and_wait(running)
    assert await redis.get(KEYS.leader) == b"go-peer-1"


async def test_a_leader_that_cannot_renew_stops_trusting_itself_before_the_ttl_ends(
    redis: Redis, schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the timer its leading would go on for as long as Redis is away."""
    # Its key lasts for 8 s after that, which is time enough to look at it on any machine.
    leader, terms, _ = make(schedule, "a", leader_ttl_s=10.0, trust_margin_s=8.0, renew_every_s=0.2)
    running = asyncio.create_task(leader.run())
    await until(lambda: bool(terms.begun))

    async def away(*_args: object, **_options: object) -> None:
        raise RedisUnavailableError("away")

    monkeypatch.setattr(schedule, "campaign", away)
    monkeypatch.setattr(schedule, "resign", away)  # which would delete the key
    await until(lambda: bool(terms.ended))
    assert await redis.exists(KEYS.leader), "its key has not expired"
    await cancel_and_wait(running)


async def test_an_unforeseen_error_of_the_duties_ends_the_leader(schedule: Schedule) -> None:
    leader, terms, _ = make(schedule, "a")
    terms.fail_with = KeyError("a bug")
    with pytest.raises(KeyError):
        await asyncio.wait_for(leader.run(), 30)


async def test_the_switch_follows_the_leader_and_each_turn_is_an_event(redis: Redis, schedule: Schedule) -> None:
    """Replicas that disagree cannot turn it back and forth: one of them leads."""
    recorder = EventRecorder()
    spreads, _, _ = make(schedule, "a", spread_ticks=True, recorder=recorder, renew_every_s=0.01)
    does_not, _, _ = make(schedule, "b", recorder=recorder, renew_every_s=0.01)
    for _ in range(3):
        await spreads.run_once()
        await does_not.run_once()
    assert await redis.exists(KEYS.spread)
    await redis.set(KEYS.leader, "a-go-producer", px=9000)
    await does_not.run_once()
    assert not await redis.exists(KEYS.spread)
    await redis.delete(KEYS.leader)
    await spreads.run_once()
    assert await redis.exists(KEYS.spread)
    await redis.delete(KEYS.leader)
    await does_not.run_once()
    stored = (StoredEvent("1-0", text) for text in recorder.encoded("a", int))
    turns = [(event.kind, event.message) for event in decode_events(stored) if event.kind.startswith("spread.")]
    assert [kind for kind, _ in turns] == ["spread.enabled", "spread.disabled", "spread.enabled", "spread.disabled"]
    assert "a Go producer leads" in turns[1][1]
    assert "SPREAD_TICKS of the leader is false" in turns[3][1]
    for leader in (spreads, does_not):
        await leader._stop_leading("the test is over")
