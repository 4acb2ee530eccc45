"""The HTTP API and its broker: answers wait for confirmations; while it is away or slow, requests are refused."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from peekaping_producer.errors import BrokerUnavailableError
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.publisher import PublishResult
from tests.kit.api import TIMESTAMP, RunningApi, running_api
from tests.kit.processes import listens
from tests.kit.publishers import HeldPublisher, MemoryPublisher
from tests.kit.waiting import until

pytestmark = pytest.mark.usefixtures("no_backoff")


async def test_an_answer_waits_for_the_confirmation() -> None:
    publisher = HeldPublisher()
    async with running_api(publisher) as api:
        request = asyncio.create_task(api.post("/produce", {"id": "a", "payload": 1}))
        await until(lambda: api.relay.progress().buffered == 1)
        assert not request.done()
        publisher.released.set()
        assert (await request)[0] == 200


async def test_a_message_that_the_broker_refuses_is_422() -> None:
    publisher = MemoryPublisher()
    publisher.refused = {"b": "too large"}
    async with running_api(publisher) as api:
        status, answer, _ = await api.post("/produce", {"id": "b", "payload": 1})
        assert (status, answer["error"]) == (422, "$: the broker refuses it: too large")
        batch = {"messages": [{"id": "a", "payload": 1}, {"id": "b", "payload": 1}]}
        status, answer, _ = await api.post("/batch-produce", batch)
        assert (status, answer["error"]) == (422, "$.messages[1]: the broker refuses it: too large")
        assert api.sample("messages_produced_total") == 0


async def test_while_the_broker_is_away_requests_are_503_at_once_and_nothing_is_kept() -> None:
    publisher = MemoryPublisher()
    publisher.error = BrokerUnavailableError("away at secret.example")
    async with running_api(publisher) as api:
        await until(lambda: bool(api.dependencies.troubles))
        status, answer, headers = await api.post("/produce", {"id": "a", "payload": 1})
        assert (status, headers["Retry-After"]) == (503, "5")
        status, health = await api.get("/health")
        assert (status, json.loads(health)) == (503, {"status": "unhealthy", "timestamp": TIMESTAMP})
        assert "secret" not in health + str(answer)
        assert api.relay.progress().buffered == 0
        publisher.error = None
        await until(lambda: not api.dependencies.troubles)
        assert json.loads((await api.get("/health"))[1]) == {"status": "healthy", "timestamp": TIMESTAMP}
        assert (await api.post("/produce", {"id": "a", "payload": 1}))[0] == 200


async def test_a_request_survives_a_short_outage(api: RunningApi) -> None:
    await api.post("/produce", {"id": "a", "payload": 1})
    api.publisher.error = BrokerUnavailableError("away")
    request = asyncio.create_task(api.post("/produce", {"id": "b", "payload": 1}))
    await until(lambda: bool(api.dependencies.troubles))
    api.publisher.error = None
    assert (await request)[0] == 200


async def test_a_broker_that_does_not_confirm_in_time_is_503() -> None:
    publisher = HeldPublisher()
    async with running_api(publisher, confirm_timeout_s=0.05) as api:
        status, answer, headers = await api.post("/produce", {"id": "a", "payload": 1})
        assert (status, headers["Retry-After"]) == (503, "5")
        assert answer["error"] == ("the broker did not confirm within 0.05 s. Repeat the request with the same ids.")
        publisher.released.set()


async def test_a_full_buffer_is_503_and_a_batch_is_accepted_as_a_whole_or_not() -> None:
    publisher = HeldPublisher()
    async with running_api(publisher, max_messages=3) as api:
        first = asyncio.create_task(api.post("/produce", {"id": "a", "payload": 1}))
        await until(lambda: api.relay.progress().buffered == 1)
        batch = {"messages": [{"id": str(number), "payload": 1} for number in range(3)]}
        status, _, headers = await api.post("/batch-produce", batch)
        assert (status, headers["Retry-After"]) == (503, "1")
        assert api.relay.progress().buffered == 1
        publisher.released.set()
        assert (await first)[0] == 200
        assert (await api.post("/batch-produce", batch))[0] == 200


async def test_a_stop_answers_the_requests_that_wait_and_accepts_no_others() -> None:
    publisher = HeldPublisher()
    async with running_api(publisher) as api:
        request = asyncio.create_task(api.post("/produce", {"id": "a", "payload": 1}))
        await until(lambda: api.relay.progress().buffered == 1)
        stop = asyncio.create_task(api.part.drain(30))
        await until(lambda: api.api.stopping)
        await until(lambda: not listens(api.source.port))
        publisher.released.set()
        assert (await request)[0] == 200
        assert await stop == 0


async def test_a_stop_while_the_broker_is_away_answers_503() -> None:
    publisher = HeldPublisher()
    async with running_api(publisher) as api:
        request = asyncio.create_task(api.post("/produce", {"id": "a", "payload": 1}))
        await until(lambda: api.relay.progress().buffered == 1)
        assert await api.part.drain(0.05) == 1
        status, answer, _ = await request
        assert (status, answer["error"]) == (503, "this process stops. Repeat the request with the same ids.")


class SlowPublisher(MemoryPublisher):
    """Confirms at most 20 messages for each permit."""

    def __init__(self) -> None:
        super().__init__()
        self.permits = asyncio.Semaphore(0)

    async def publish(self, messages: Sequence[Message]) -> PublishResult:
        await self.permits.acquire()
        return await super().publish(messages[:20])


async def test_at_four_times_the_load_the_surplus_is_refused_and_the_rest_is_published() -> None:
    publisher = SlowPublisher()
    async with running_api(publisher, max_messages=200) as api:
        requests: list[asyncio.Task[tuple[int, Any, Any]]] = []
        for turn in range(25):
            for part in range(4):  # of 20 messages each, for one permit
                messages = [{"id": f"{turn}:{part}:{n}", "payload": "x" * 50} for n in range(20)]
                requests.append(asyncio.create_task(api.post("/batch-produce", {"messages": messages})))
            # Each is answered, or in the buffer.
            await until(lambda: api.relay.progress().buffered == 20 * sum(not each.done() for each in requests))
            assert api.relay.progress().buffered <= 200
            publisher.permits.release()
            await until(lambda turn=turn: len(publisher.batches) > turn)
        for _ in requests:
            publisher.permits.release()
        answers = [await request for request in requests]
    accepted = [index for index, (status, _, _) in enumerate(answers) if status == 200]
    assert {message.id for message in publisher.messages} == {
        f"{index // 4}:{index % 4}:{n}" for index in accepted for n in range(20)
    }
    assert len(publisher.messages) == 20 * len(accepted)
    refused = [headers["Retry-After"] for status, _, headers in answers if status == 503]
    assert len(accepted) + len(refused) == len(answers)
    assert 25 <= len(accepted) <= 25 + 200 / 20
    assert set(refused) == {"1"}
