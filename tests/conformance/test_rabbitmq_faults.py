"""The publisher while RabbitMQ is killed, blocks publishers or does not answer: nothing is lost, ids are repeated."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio
import structlog

from peekaping_producer.errors import BrokerError, BrokerUnavailableError
from peekaping_producer.service.backoff import Backoff
from peekaping_producer.targets import RabbitMqTarget
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.rabbitmq import frames
from peekaping_producer.transports.rabbitmq.publisher import RabbitMqPublisher
from tests.kit.fault_proxy import FaultProxy, fault_proxy
from tests.kit.rabbitmq import RabbitMqServer
from tests.kit.rabbitmq_clients import numbered, publisher_on
from tests.kit.waiting import until

BATCH = 100


def ids(taken: list[dict[str, object]]) -> list[int]:
    """The numbers in the ids of messages; each body must belong to its id."""
    for each in taken:
        assert each["properties"]["message_id"] == f"m{each['payload']}"  # type: ignore[index]
    return [int(str(each["payload"])) for each in taken]


async def publish_all(publisher: RabbitMqPublisher, count: int, progress: list[int]) -> list[str]:
    """Publish `count` messages as a relay does: again from the first that is not settled. Return the errors."""
    errors: list[str] = []
    backoff = Backoff(0.02, 0.2)
    while progress[0] < count:
        try:
            result = await publisher.publish(numbered(*range(progress[0], min(progress[0] + BATCH, count))))
        except BrokerError as error:
            errors.append(str(error))
            await backoff.wait()
        else:
            progress[0] += result.settled
    return errors


@pytest_asyncio.fixture
async def publisher(vhost_of_node: RabbitMqTarget) -> AsyncIterator[RabbitMqPublisher]:
    async with publisher_on(msgspec.structs.replace(vhost_of_node, blocked_timeout_s=0.7)) as opened:
        yield opened


@pytest_asyncio.fixture
async def proxy(vhost_of_node: RabbitMqTarget) -> AsyncIterator[FaultProxy]:
    async with fault_proxy(vhost_of_node.port) as proxy:
        yield proxy


def through(proxy: FaultProxy, target: RabbitMqTarget, **options: float) -> RabbitMqPublisher:
    return RabbitMqPublisher(msgspec.structs.replace(target, port=proxy.port, **options))


async def test_nothing_is_lost_when_the_broker_is_killed_in_the_middle(
    rabbitmq_node: RabbitMqServer, vhost_of_node: RabbitMqTarget
) -> None:
    """The default blocked timeout is longer than a confirmation takes: no other window is repeated."""
    await rabbitmq_node.flush()
    count, progress = 8_000, [0]
    async with publisher_on(vhost_of_node) as publisher:
        publishing = asyncio.create_task(publish_all(publisher, count, progress))
        await until(lambda: progress[0] > 1000)
        before = rabbitmq_node.pid
        rabbitmq_node.kill()
        assert progress[0] < count, "killed too late"
        await rabbitmq_node.started()
        assert rabbitmq_node.pid != before
        errors = await asyncio.wait_for(publishing, 120)
    assert errors
    received = ids(await asyncio.to_thread(rabbitmq_node.take, vhost_of_node))
    first_seen = list(dict.fromkeys(received))
    assert first_seen == list(range(count)), "lost, or out of order"
    assert len(received) - count <= BATCH, "more than one window was repeated"


async def test_an_idle_publisher_notices_that_the_broker_went_away(
    proxy: FaultProxy, vhost_of_node: RabbitMqTarget
) -> None:
    publisher = through(proxy, vhost_of_node)
    await publisher.open()
    await publisher.open()
    await proxy.down()

    async def fails() -> bool:
        try:
            await publisher.open()
        except BrokerUnavailableError:
            return True
        return False

    await until(fails)
    await proxy.up()
    await publisher.open()
    await publisher.close()


async def test_a_blocked_connection_times_out_and_loses_nothing(
    rabbitmq_node: RabbitMqServer, vhost_of_node: RabbitMqTarget, publisher: RabbitMqPublisher
) -> None:
    with rabbitmq_node.memory_alarm():
        started_at = asyncio.get_running_loop().time()
        with pytest.raises(BrokerUnavailableError, match=r"blocks publishers, .* 0.7 s \(RABBITMQ_BLOCKED_TIMEOUT\)"):
            await publisher.publish(numbered(*range(10)))
        assert asyncio.get_running_loop().time() - started_at < 20
    await publish_all(publisher, 10, [0])
    received = ids(rabbitmq_node.take(vhost_of_node))
    assert list(dict.fromkeys(received)) == list(range(10))


async def test_a_block_is_logged_once_and_its_end(rabbitmq_node: RabbitMqServer, vhost_of_node: RabbitMqTarget) -> None:
    publisher = RabbitMqPublisher(vhost_of_node)
    with structlog.testing.capture_logs() as logs:
        with rabbitmq_node.memory_alarm():
            publishing = asyncio.create_task(publisher.publish(numbered(*range(10))))
            await until(lambda: bool(logs))
        assert (await publishing).settled == 10
    await publisher.close()
    assert [each["event"] for each in logs] == ["rabbitmq.blocked", "rabbitmq.unblocked"]


@pytest.mark.parametrize("way", [frames.write, frames.gather])
async def test_a_lost_confirmation_is_repeated_with_the_same_ids(
    rabbitmq_node: RabbitMqServer,
    vhost_of_node: RabbitMqTarget,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    way: object,
) -> None:
    monkeypatch.setattr(frames, "publish", way)
    publisher = through(proxy, vhost_of_node)
    await publisher.open()
    proxy.hold_replies()
    publishing = asyncio.create_task(publisher.publish(numbered(*range(10))))
    await until(lambda: proxy.requests > 0)
    await proxy.cut()
    with pytest.raises(BrokerUnavailableError):
        await publishing
    proxy.release_replies()
    assert (await publisher.publish(numbered(*range(10)))).settled == 10
    await publisher.close()
    received = ids(rabbitmq_node.take(vhost_of_node))
    assert list(dict.fromkeys(received)) == list(range(10))
    assert set(received) == set(range(10))


async def test_a_silent_broker_is_an_error_within_the_limit(vhost_of_node: RabbitMqTarget, proxy: FaultProxy) -> None:
    publisher = through(proxy, vhost_of_node, blocked_timeout_s=2)  # and enough for the second call
    await publisher.open()
    proxy.hold_replies()
    with pytest.raises(BrokerUnavailableError, match=r"no confirmation within 2 s"):
        await publisher.publish(numbered(*range(10)))
    proxy.release_replies()
    assert (await publisher.publish(numbered(*range(10)))).settled == 10
    await publisher.close()


async def test_a_canceled_call_leaves_a_usable_publisher(
    rabbitmq_node: RabbitMqServer, vhost_of_node: RabbitMqTarget, proxy: FaultProxy
) -> None:
    publisher = through(proxy, vhost_of_node)
    await publisher.open()
    proxy.hold_replies()
    publishing = asyncio.create_task(publisher.publish(numbered(*range(10))))
    await until(lambda: proxy.requests > 0)
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    proxy.release_replies()
    assert (await publisher.publish(numbered(*range(10, 20)))).settled == 10
    await publisher.close()
    assert set(ids(rabbitmq_node.take(vhost_of_node))) >= set(range(10, 20))


async def test_close_of_a_blocked_connection_takes_little_time(
    rabbitmq_node: RabbitMqServer, vhost_of_node: RabbitMqTarget
) -> None:
    publisher = RabbitMqPublisher(vhost_of_node)
    await publisher.open()
    with rabbitmq_node.memory_alarm(), structlog.testing.capture_logs() as logs:
        publishing = asyncio.create_task(publisher.publish(numbered(*range(10))))
        await until(lambda: [line["event"] for line in logs] == ["rabbitmq.blocked"])
        started_at = asyncio.get_running_loop().time()
        await publisher.close()
        assert asyncio.get_running_loop().time() - started_at < 20
        with pytest.raises(BrokerUnavailableError):
            await publishing


async def test_a_broker_that_reads_slowly_gets_everything_in_order(
    rabbitmq_node: RabbitMqServer, vhost_of_node: RabbitMqTarget, proxy: FaultProxy
) -> None:
    publisher = through(proxy, vhost_of_node)
    await publisher.open()
    proxy.hold_requests()
    large = [Message(id=f"m{number}", body=b"x" * 100_000) for number in range(50)]
    publishing = asyncio.create_task(publisher.publish(large))
    await until(lambda: proxy.requests > 0)
    assert not publishing.done()
    proxy.release_requests()
    assert (await publishing).settled == 50
    await publisher.close()
    taken = rabbitmq_node.take(vhost_of_node)
    assert [each["properties"]["message_id"] for each in taken] == [each.id for each in large]
