"""Acts from the page over the real scripts: bodies, outcomes, who is recorded, and what an outage looks like."""

import asyncio
import ipaddress
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from peekaping_producer.errors import RedisRefusedError, RedisUnavailableError, StoreUnavailableError
from peekaping_producer.operations.acts import Acts
from peekaping_producer.operations.fleet_events import decode_events
from peekaping_producer.operations.reconcile import request
from peekaping_producer.schedule import Schedule
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.settings import UiAccess
from peekaping_producer.ui.acts import AT_ONCE, ActEndpoints
from tests.kit.clock import TEST_CLOCK, Clock
from tests.kit.memory_store import MemoryStore, monitor
from tests.kit.processes import HOST
from tests.kit.schedule import make_due
from tests.kit.ui_access import BEARER, TOKEN, Answer, Page, page

ACCESS = UiAccess(
    token=TOKEN,
    proxies=(ipaddress.ip_network(HOST),),
    user_header="X-User",
    act_users=frozenset({"anna", "a" * 100}),
    is_public=True,
)
ANNA = {"X-User": "anna", "X-Forwarded-For": "192.0.2.7"}


@pytest.fixture
def acts(redis: Redis, clock: Clock) -> Acts:
    store = MemoryStore()
    store.put(monitor("m1"), monitor("m2"))
    return Acts(redis, store, clock=TEST_CLOCK, patience_s=0.0)


@pytest.fixture
async def running(acts: Acts, schedule: Schedule) -> AsyncIterator[Page]:
    async with page(ACCESS, acts=ActEndpoints(acts, schedule).routes()) as running:
        yield running


async def post(running: Page, act: str, body: Any, headers: dict[str, str] = BEARER) -> Answer:
    return await running.request("POST", f"/api/acts/{act}", headers, json.dumps(body).encode())


async def recorded(schedule: Schedule) -> list[tuple[str, str]]:
    details = await schedule.look(events=100)
    return [(event.who, event.message) for event in decode_events(details.events)]


async def test_a_user_of_the_proxy_runs_holds_and_releases(
    running: Page, redis: Redis, schedule: Schedule, clock: Clock
) -> None:
    await make_due(redis, m1=clock.now_ms + 40_000, m2=clock.now_ms + 40_000)
    anna = ANNA | running.origin
    with capture_logs() as lines:
        answer = await post(running, "run-now", {"ids": ["m1", "gone"], "why": " repaired\n\u202eit "}, anna)
    assert (answer.status, answer.body["done"], answer.body["recorded"]) == (200, False, True)
    assert answer.body["monitors"][0] == {
        "id": "m1",
        "code": "due_now",
        "done": True,
        "sentence": "It is due now. Its next tick stays where it is.",
        "until_ms": None,
    }
    assert answer.body["monitors"][1]["code"] == "unknown"
    [line] = [line for line in lines if line["event"] == "act.performed"]
    assert (line["act"], line["who"], line["origin"]) == ("run_now", "anna", "page, 192.0.2.7")
    assert await recorded(schedule) == [
        ("anna", 'Made due now, asked for by anna (page, 192.0.2.7): "repaired it".'),
    ]
    held = await post(running, "hold", {"ids": ["m2"], "for_s": 600, "why": "disk"}, anna)
    assert held.body["monitors"][0]["until_ms"] == clock.now_ms + 600_000
    assert json.loads(await redis.hget(KEYS.held, "m2") or b"")["who"] == "anna"
    assert (await post(running, "release", {"ids": ["m2"]}, anna)).body["monitors"][0]["code"] == "released"
    everything = await post(running, "hold", {"all": True, "why": "move"}, anna)
    assert everything.body["monitors"][0]["until_ms"] == clock.now_ms + 900_000
    assert (await post(running, "release", {"all": True}, anna)).body["done"] is True


async def test_with_the_token_the_page_acts(running: Page, redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await make_due(redis, m1=clock.now_ms + 40_000)
    assert (await post(running, "run-now", {"ids": ["m1"]})).status == 200
    assert await recorded(schedule) == [("page", f"Made due now, asked for by page (page, {HOST}).")]


async def test_a_long_name_is_shortened(running: Page, redis: Redis, schedule: Schedule, clock: Clock) -> None:
    await make_due(redis, m1=clock.now_ms + 40_000)
    answer = await post(running, "run-now", {"ids": ["m1"]}, {"X-User": "a" * 100} | running.origin)
    assert answer.status == 200
    assert await recorded(schedule) == [(f"{'a' * 63}…", f"Made due now, asked for by {'a' * 63}… (page, {HOST}).")]


async def test_a_sync_is_asked_for(running: Page, redis: Redis) -> None:
    await redis.set(KEYS.leader, "vm-a/1", px=10_000)
    answer = await post(running, "sync", {}, ANNA | running.origin)
    assert answer.body["sentence"] == "The leader is asked to sync; it begins within 5 s."
    stored = json.loads(await redis.get(KEYS.sync_requested) or b"")
    assert stored["who"] == "anna (page, 192.0.2.7)"


@pytest.mark.parametrize(
    ("leader", "error"),
    [
        (None, "No replica leads, so no sync runs. Start a replica; its first sync begins at once."),
        ("vm-go", "vm-go leads, which is not a replica of this producer and answers no request. Stop it, if a "),
    ],
)
async def test_a_sync_that_no_leader_would_answer_is_409(
    running: Page, redis: Redis, monkeypatch: pytest.MonkeyPatch, leader: str | None, error: str
) -> None:
    monkeypatch.setattr(request, "LEADER_CHANGES_WITHIN_S", 0.01)
    if leader:
        await redis.set(KEYS.leader, leader, px=10_000)
    answer = await post(running, "sync", {})
    assert answer.status == 409
    assert answer.body["error"].startswith(error)
    assert not await redis.exists(KEYS.sync_requested)


async def test_an_act_on_nothing_is_409_with_the_reason(running: Page) -> None:
    answer = await post(running, "run-now", {"ids": ["gone"]})
    assert (answer.status, answer.body["error"]) == (409, "No monitor has this id.")
    assert answer.body["monitors"][0]["code"] == "unknown"


BAD = [
    ("run-now", [], 422),
    ("run-now", {}, 422),
    ("run-now", {"ids": []}, 422),
    ("run-now", {"ids": [""]}, 422),
    ("run-now", {"ids": "m1"}, 422),
    ("run-now", {"ids": ["*"]}, 400),
    ("run-now", {"ids": ["m" * 65]}, 422),
    ("run-now", {"ids": [f"m{number}" for number in range(101)]}, 422),
    ("run-now", {"ids": ["m1"], "why": "x" * 201}, 422),
    ("run-now", {"ids": ["m1"], "who": "bo"}, 422),
    ("hold", {"ids": ["m1"]}, 422),
    ("hold", {"ids": ["m1"], "why": ""}, 400),
    ("hold", {"ids": ["m1"], "why": "\u200b \n"}, 400),
    ("hold", {"ids": ["m1"], "all": True, "why": "x"}, 422),
    ("hold", {"why": "x"}, 422),
    ("hold", {"all": False, "why": "x"}, 422),
    ("hold", {"ids": ["m1"], "for_s": 0, "why": "x"}, 400),
    ("hold", {"ids": ["m1"], "for_s": -1, "why": "x"}, 400),
    ("hold", {"ids": ["m1"], "for_s": 604_801, "why": "x"}, 400),
    ("hold", {"all": True, "for_s": 3601, "why": "x"}, 400),
    ("hold", {"all": True, "for_s": 0, "why": "x"}, 400),
    ("hold", {"ids": ["m1"], "for_s": "600", "why": "x"}, 422),
    ("release", {}, 422),
    ("release", {"ids": ["m1"], "all": True}, 422),
    ("sync", {"who": "bo"}, 422),
    ("sync", None, 422),
]


@pytest.mark.parametrize(("act", "body", "status"), BAD)
async def test_a_bad_body_is_refused_and_changes_nothing(
    running: Page, redis: Redis, clock: Clock, act: str, body: Any, status: int
) -> None:
    await make_due(redis, m1=clock.now_ms + 40_000)
    with capture_logs() as lines:
        answer = await post(running, act, body)
    assert answer.status == status, answer.body
    assert answer.body["error"].endswith(".")
    [line] = lines
    assert (line["event"], line["who"], line["address"], line["status"]) == ("act.refused", "page", HOST, status)
    assert await redis.zscore(KEYS.due, "m1") == clock.now_ms + 40_000
    assert not await redis.exists(KEYS.held, KEYS.events, KEYS.sync_requested)


async def test_the_form_of_a_web_site_is_no_json(running: Page) -> None:
    headers = {"Content-Type": "text/plain"} | BEARER
    assert (await running.request("POST", "/api/acts/sync", headers, b"{}")).status == 415


async def test_who_may_only_see_changes_nothing(running: Page, redis: Redis, clock: Clock) -> None:
    await make_due(redis, m1=clock.now_ms + 40_000)
    with capture_logs() as lines:
        for user in ({}, {"X-User": "bo"}):
            answer = await post(running, "run-now", {"ids": ["m1"]}, user | running.origin)
            assert answer.status == 403
    assert [(line["event"], line["who"]) for line in lines] == [("act.refused", "page"), ("act.refused", "bo")]
    assert await redis.zscore(KEYS.due, "m1") == clock.now_ms + 40_000


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RedisUnavailableError("h0rse.example:6379"), "Redis does not answer"),
        (RedisRefusedError("h0rse", "NOPERM"), "Redis refuses this"),
        (StoreUnavailableError("h0rse.example:5432"), "The database does not answer"),
    ],
)
async def test_an_outage_is_503_without_addresses(
    acts: Acts, schedule: Schedule, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Acts, "hold", fail)
    async with page(ACCESS, acts=ActEndpoints(acts, schedule).routes()) as running:
        with capture_logs() as lines:
            answer = await post(running, "hold", {"ids": ["m1"], "why": "x"})
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert answer.body["error"].startswith(reason)
    assert "h0rse" not in str(answer.body)
    assert [line["event"] for line in lines] == ["act.failed"]


async def test_many_acts_at_once_never_lack_a_connection(
    acts: Acts, schedule: Schedule, redis: Redis, clock: Clock
) -> None:
    await make_due(redis, m1=clock.now_ms + 40_000)
    redis.connection_pool.max_connections = AT_ONCE
    async with page(ACCESS, acts=ActEndpoints(acts, schedule).routes()) as running:
        answers = await asyncio.gather(*(post(running, "run-now", {"ids": ["m1"]}) for _ in range(20)))
        assert {answer.status for answer in answers} <= {200, 409}


async def test_an_act_that_waits_too_long_for_others_was_not_done(
    acts: Acts, schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints = ActEndpoints(acts, schedule)
    monkeypatch.setattr(endpoints._turns, "_wait_s", 0.05)
    async with page(ACCESS, acts=endpoints.routes()) as running, AsyncExitStack() as stack:
        for _ in range(AT_ONCE):
            await stack.enter_async_context(endpoints._turns.turn())
        answer = await post(running, "run-now", {"ids": ["m1"]})
    assert (answer.status, answer.body["error"].partition(",")[0]) == (503, "This was not done")
