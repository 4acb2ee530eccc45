"""The publisher on a real RabbitMQ."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from peekaping_producer.errors import BrokerRefusedError, BrokerUnavailableError, ConfigError
from peekaping_producer.targets import RabbitMqTarget, Tls
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.publisher import PublishResult
from peekaping_producer.transports.rabbitmq import frames, topology
from peekaping_producer.transports.rabbitmq.connection import Session
from peekaping_producer.transports.rabbitmq.publisher import RabbitMqPublisher
from tests.kit.certificates import self_signed
from tests.kit.fault_proxy import fault_proxy
from tests.kit.processes import HOST, free_port
from tests.kit.rabbitmq import RabbitMqApi, RabbitMqServer
from tests.kit.rabbitmq_clients import numbered, publisher_on
from tests.kit.waiting import until

Write = Callable[..., Awaitable[frames.Batch]]


def bodies(taken: list[dict[str, Any]]) -> list[str]:
    return [each["payload"].strip() for each in taken]


@pytest.fixture(params=[frames.write, frames.gather], ids=["one write", "gathered"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Both ways to publish a batch."""
    monkeypatch.setattr(frames, "publish", request.param)
    write: Write = request.param
    return write


@pytest.mark.usefixtures("either")
async def test_messages_are_persistent_in_order_and_with_their_ids(
    publisher: RabbitMqPublisher, rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi
) -> None:
    sent = numbered(*range(300))
    assert await publisher.publish(sent) == PublishResult(settled=300)
    taken = rabbitmq_api.take(rabbitmq)
    assert bodies(taken) == [f"{number}" for number in range(300)]
    assert taken[7]["properties"] == {
        "message_id": "m7",
        "content_type": "text/plain",
        "delivery_mode": 2,
    }


@pytest.mark.usefixtures("either")
async def test_bodies_of_any_bytes_and_of_several_frames(
    publisher: RabbitMqPublisher, rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi
) -> None:
    odd = [b"", b"\xce" * 8, b"x" * 131_064, b"y" * 131_065, b"z" * 400_000]
    sent = [Message(id=f"{index}", body=body) for index, body in enumerate(odd)]
    assert await publisher.publish(sent) == PublishResult(settled=5)
    assert [each["payload_bytes"] for each in rabbitmq_api.take(rabbitmq)] == [len(body) for body in odd]


@pytest.mark.usefixtures("either")
async def test_a_bad_message_is_refused_and_stops_no_other(
    publisher: RabbitMqPublisher, rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi
) -> None:
    good = "é" * 127 + "x"
    sent = [
        Message(id="é" * 128, body=b"too long"),
        Message(id=good, body=b"fits"),
        Message(id="", body=b"empty id"),
        Message(id="\ud800", body=b"no UTF-8"),
        Message(id="type", body=b"odd type", content_type="é" * 200),
        Message(id="last", body=b"last"),
    ]
    result = await publisher.publish(sent)
    assert result.settled == 6
    assert set(result.refused) == {0, 2, 3, 4}
    assert "255 bytes" in result.refused[0]
    assert "content_type" in result.refused[4]
    assert [each["properties"]["message_id"] for each in rabbitmq_api.take(rabbitmq)] == [good, "last"]


@pytest.mark.usefixtures("either")
async def test_a_message_above_the_brokers_limit_is_refused(
    rabbitmq_node: RabbitMqServer, vhost_of_node: RabbitMqTarget
) -> None:
    rabbitmq_node.control("eval", "application:set_env(rabbit, max_message_size, 1000).")
    try:
        async with publisher_on(vhost_of_node) as publisher:
            sent = [*numbered(0), *numbered(1, size=1000), *numbered(2, size=1001), *numbered(3)]
            result = await publisher.publish(sent)
            assert result.settled == 4
            assert set(result.refused) == {2}
            assert "1000 bytes" in result.refused[2]
            # The limit is known: the connection is not lost again, and nothing is published twice.
            taken = rabbitmq_node.take(vhost_of_node)
            assert set(bodies(taken)) == {"0", "1", "3"}
            assert (await publisher.publish(sent)).settled == 4
    finally:
        rabbitmq_node.control("eval", "application:set_env(rabbit, max_message_size, 134217728).")
    assert bodies(rabbitmq_node.take(vhost_of_node)) == ["0", "1", "3"]


@pytest.mark.usefixtures("either")
async def test_a_queue_deleted_in_use_is_declared_again(
    publisher: RabbitMqPublisher, rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi
) -> None:
    await publisher.publish(numbered(0))
    rabbitmq_api.delete_queue(rabbitmq)
    assert await publisher.publish(numbered(1, 2, 3)) == PublishResult(settled=3)
    assert bodies(rabbitmq_api.take(rabbitmq)) == ["1", "2", "3"]


async def test_a_message_without_a_queue_is_an_error(
    publisher: RabbitMqPublisher, rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> None:
        pass

    await publisher.publish(numbered(0))
    rabbitmq_api.delete_queue(rabbitmq)
    monkeypatch.setattr(topology, "declare", nothing)
    with pytest.raises(BrokerUnavailableError, match="no queue"):
        await publisher.publish(numbered(1))


async def test_a_full_queue_stops_the_window_at_the_refused_message(
    rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi
) -> None:
    path = f"queues/{rabbitmq.vhost.replace('/', '%2F').replace(' ', '%20')}/messages"
    arguments = {"x-max-length": 3, "x-overflow": "reject-publish"}
    rabbitmq_api.call("PUT", path, {"durable": True, "arguments": arguments})
    async with publisher_on(rabbitmq) as publisher:
        result = await publisher.publish(numbered(*range(8)))
        assert result.refused == {}
        assert 3 <= result.settled < 8
        stopped_at = result.settled
        with pytest.raises(BrokerUnavailableError, match="full"):
            await publisher.publish(numbered(*range(stopped_at, 8)))
        taken = bodies(rabbitmq_api.take(rabbitmq))
        assert taken[:stopped_at] == [f"{number}" for number in range(stopped_at)]


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
async def test_the_queue_is_durable_and_of_the_type(
    rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi, queue_type: Any
) -> None:
    async with publisher_on(msgspec.structs.replace(rabbitmq, queue_type=queue_type)) as publisher:
        assert (await publisher.publish(numbered(1))).settled == 1
    (queue,) = rabbitmq_api.queues(rabbitmq).values()
    assert (queue["type"], queue["durable"]) == (queue_type, True)


async def test_an_existing_queue_with_other_arguments_is_used(
    rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi
) -> None:
    async with publisher_on(msgspec.structs.replace(rabbitmq, queue_type="quorum")):
        pass
    async with publisher_on(rabbitmq) as publisher:
        assert (await publisher.publish(numbered(1))).settled == 1
    assert rabbitmq_api.queues(rabbitmq)["messages"]["type"] == "quorum"


async def test_a_user_needs_no_right_to_configure_an_existing_queue(
    rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi, publisher: RabbitMqPublisher
) -> None:
    async with weak_user(rabbitmq, rabbitmq_api, write=".*") as weak, publisher_on(weak) as other:
        assert (await other.publish(numbered(1))).settled == 1


@asynccontextmanager
async def weak_user(target: RabbitMqTarget, api: RabbitMqApi, **rights: str) -> AsyncIterator[RabbitMqTarget]:
    """A user with no rights in the virtual host but these."""
    name = f"weak{free_port()}"
    api.create_user(name, "s3cret-of-it")
    try:
        if rights:
            api.permit(name, target.vhost, **({"configure": "", "write": "", "read": ""} | rights))
        yield msgspec.structs.replace(target, user=name, password="s3cret-of-it")
    finally:
        api.delete_user(name)


async def refusal(target: RabbitMqTarget) -> str:
    with pytest.raises(BrokerRefusedError) as caught:
        async with publisher_on(target):
            pass
    assert target.password not in str(caught.value)
    return str(caught.value)


async def test_a_wrong_password_is_refused_with_the_settings(rabbitmq: RabbitMqTarget) -> None:
    wrong = msgspec.structs.replace(rabbitmq, password="not-the-password")
    assert "RABBITMQ_USER, RABBITMQ_PASS" in await refusal(wrong)


async def test_a_virtual_host_that_does_not_exist_or_refuses_the_user(
    rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi
) -> None:
    assert "RABBITMQ_VHOST" in (text := await refusal(msgspec.structs.replace(rabbitmq, vhost="nowhere")))
    assert "nowhere" in text
    async with weak_user(rabbitmq, rabbitmq_api) as weak:
        assert "RABBITMQ_VHOST" in await refusal(weak)
    async with weak_user(rabbitmq, rabbitmq_api, write=".*") as weak:
        assert "configure" in await refusal(weak)


async def test_missing_rights_to_publish_are_refused(
    rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi, publisher: RabbitMqPublisher
) -> None:
    async with weak_user(rabbitmq, rabbitmq_api, read=".*") as weak, publisher_on(weak) as other:
        with pytest.raises(BrokerRefusedError, match="write"):
            await other.publish(numbered(1))


async def test_other_arguments_than_declared_are_an_error_with_the_setting(
    rabbitmq: RabbitMqTarget, publisher: RabbitMqPublisher, session: Session
) -> None:
    with pytest.raises(BrokerRefusedError, match="RABBITMQ_QUEUE"):
        await _declare_as_quorum(session, rabbitmq)


async def _declare_as_quorum(session: Session, target: RabbitMqTarget) -> None:
    from peekaping_producer.transports.rabbitmq.failures import translated

    with translated(target):
        await session.channel.queue_declare("messages", durable=True, arguments={"x-queue-type": "quorum"})


async def test_a_retention_copy_is_read_many_times_and_survives_the_queue(
    rabbitmq: RabbitMqTarget, rabbitmq_api: RabbitMqApi, session: Session
) -> None:
    with_copy = msgspec.structs.replace(rabbitmq, retention_days=7)
    async with publisher_on(with_copy) as publisher:
        assert (await publisher.publish(numbered(1, 2))).settled == 2
        assert bodies(rabbitmq_api.take(rabbitmq)) == ["1", "2"]
        rabbitmq_api.delete_queue(rabbitmq)
        assert (await publisher.publish(numbered(3))).settled == 1
        assert bodies(rabbitmq_api.take(rabbitmq)) == ["3"]
        for _ in range(2):
            assert await _read_stream(session, "messages.copy", 3) == ["1", "2", "3"]
    assert rabbitmq_api.queues(rabbitmq)["messages.copy"]["arguments"]["x-max-age"] == "7D"


async def _read_stream(session: Session, queue: str, count: int) -> Sequence[str]:
    channel = await session.new_channel()
    await channel.basic_qos(prefetch_count=10)
    read: list[str] = []

    async def on_message(message: Any) -> None:
        read.append(message.body.decode())

    await channel.basic_consume(queue, on_message, arguments={"x-stream-offset": "first"})
    await until(lambda: len(read) == count)
    await channel.close()
    return read


async def test_nothing_listens() -> None:
    target = RabbitMqTarget(host=HOST, port=free_port(), password="s3cret")
    with pytest.raises(BrokerUnavailableError, match="refused"):
        async with publisher_on(target):
            pass


async def test_another_kind_of_server_is_refused() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, HOST, 0)
    async with server:
        target = RabbitMqTarget(host=HOST, port=server.sockets[0].getsockname()[1])
        assert "AMQP 0-9-1" in await refusal(target)


async def test_tls(rabbitmq: RabbitMqTarget, tmp_path: Path) -> None:
    with self_signed() as certificate, self_signed() as another:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        async with fault_proxy(rabbitmq.port, tls=context) as proxy:
            encrypted = msgspec.structs.replace(rabbitmq, port=proxy.port, tls=Tls(ca_file=str(certificate)))
            async with publisher_on(encrypted) as publisher:
                assert (await publisher.publish(numbered(1))).settled == 1
            wrong = msgspec.structs.replace(encrypted, tls=Tls(ca_file=str(another)))
            assert "RABBITMQ_TLS_CA_FILE" in await refusal(wrong)
            assert "RABBITMQ_TLS: expected true" in await refusal(msgspec.structs.replace(encrypted, tls=None))
    assert "RABBITMQ_TLS" in await refusal(msgspec.structs.replace(rabbitmq, tls=Tls()))
    with pytest.raises(ConfigError, match="RABBITMQ_TLS"):
        RabbitMqPublisher(msgspec.structs.replace(rabbitmq, tls=Tls(ca_file=str(tmp_path / "none"))))
