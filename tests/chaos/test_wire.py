"""What the proxy before Redis does not hold goes through as it came, however it was cut into pieces."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hiredis import pack_command
from redis.asyncio import Redis

from peekaping_producer.demo.embedded import HOST, RedisServer
from peekaping_producer.errors import RedisError
from peekaping_producer.schedule.keys import KEYS
from tests.chaos.conftest import RawClient, Wire
from tests.chaos.wire import StepProxy, step_proxy
from tests.kit.fault_proxy import FaultProxy, running
from tests.kit.waiting import until

OWN_KEYS = (KEYS.replicas, KEYS.probe, KEYS.held, KEYS.watched, KEYS.events)
STATS_KEYS = (KEYS.due, KEYS.lease, KEYS.leader, KEYS.late, *OWN_KEYS)
PING, PONG = pack_command(("PING",)), b"+PONG\r\n"


def conversation(wire: Wire) -> bytes:
    """Commands whose answers have every form that there is, and are the same each time."""
    reclaim = ("EVALSHA", wire.schedule._reclaim.sha, 3, KEYS.due, KEYS.lease, KEYS.late, 10_000, 10)
    commands: list[tuple[str | int | bytes, ...]] = [
        ("FLUSHALL",),
        ("SET", "a", b"\r\n$3\r\nabc\r\n\x00\xff"),
        ("GET", "a"),
        ("GET", "nothing"),
        ("SET", "empty", ""),
        ("GET", "empty"),
        ("INCR", "a"),
        ("NONSENSE", "1"),
        ("RPUSH", "list", *range(40)),
        ("LRANGE", "list", 0, -1),
        ("LRANGE", "nothing", 0, -1),
        ("SCAN", 0, "COUNT", 100, "TYPE", "list"),
        ("MULTI",),
        reclaim,
        ("INCR", "count"),
        ("LRANGE", "list", 0, 2),
        ("EXEC",),
        ("EVAL", "return {1, {2, {}, false, 'x'}, redis.error_reply('no')}", 0),
        ("BLPOP", "nothing", "0.01"),
        ("PING",),
    ]
    return b"".join(pack_command(command) for command in commands)


async def answers(port: int, sent: bytes, size: int) -> bytes:
    """What comes back for `sent`, sent in pieces of `size` bytes, until a last word of our own."""
    client = await RawClient.to(port)
    sent += pack_command(("ECHO", "the last word"))
    for at in range(0, len(sent), size):
        client.writer.write(sent[at : at + size])
        await asyncio.sleep(0)  # the proxy may read it
    async with asyncio.timeout(60):
        reply = await client.reader.readuntil(b"the last word\r\n")
    client.die()
    return reply


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1_000_000])
async def test_commands_in_pieces_of_any_size(wire: Wire, size: int) -> None:
    await wire.redis.script_load(wire.schedule._reclaim._text)
    sent = conversation(wire)
    assert await answers(wire.proxy.port, sent, size) == await answers(wire.server.port, sent, len(sent))
    assert wire.seen == [], "a script in a transaction is queued, not run"


async def test_steps_in_a_pipeline_are_seen_one_by_one_each_with_its_own_answer(wire: Wire) -> None:
    await wire.due("a")
    schedule = wire.schedule
    for script in (schedule._claim, schedule._stats):
        await wire.redis.script_load(script._text)
    sets = (KEYS.due, KEYS.lease, KEYS.late, KEYS.held)
    claim = ("EVALSHA", schedule._claim.sha.upper(), len(sets), *sets, 10, 10_000, 1, 0, 64)
    stats = ("EVALSHA", schedule._stats.sha, len(STATS_KEYS), *STATS_KEYS, 10_000, "", "", 60_000)
    commands = (stats, ("PING",), claim, ("GET", "nothing"), stats, claim)
    for size in (1, 1_000_000):
        await answers(wire.proxy.port, b"".join(pack_command(each) for each in commands), size)
    assert [step.script for step in wire.seen] == ["stats", "claim", "stats", "claim"] * 2
    assert [step.reply[3] for step in wire.seen[1::2]] == [[b"a", b"1000"], [], [], []]
    assert [step.reply[1:3] for step in wire.seen[0::2]] == [[1, 0], [0, 1], [0, 1], [0, 1]]


async def test_a_step_that_is_held_in_a_pipeline_holds_what_follows_and_nothing_before(wire: Wire) -> None:
    await wire.redis.script_load(wire.schedule._stats._text)
    stats = pack_command(("EVALSHA", wire.schedule._stats.sha, len(STATS_KEYS), *STATS_KEYS, 10_000, "", "", 60_000))
    point = wire.proxy.break_at("stats", "answered")
    client = await RawClient.to(wire.proxy.port)
    client.writer.write(PING + stats + PING)
    step = await point.hit(20)
    assert await client.received(len(PONG)) == PONG
    assert await client.is_silent()
    point.release()
    assert await client.received(len(step.answer) + len(PONG)) == step.answer + PONG
    client.die()


async def test_the_clients_own_pipelines_and_transactions(wire: Wire) -> None:
    for transaction in (True, False):
        async with wire.behind.pipeline(transaction=transaction) as pipe:
            for command in (("SET", "a", 1), ("INCR", "a"), ("LRANGE", "nothing", 0, -1), ("GET", "a")):
                pipe.execute_command(*command)
            assert await pipe.execute() == [True, 2, [], b"2"]
    assert (await wire.broker.inspect()).depths["pending"] == 0


async def test_publish_and_subscribe(wire: Wire) -> None:
    async with wire.behind.pubsub() as channels:
        await channels.subscribe("one", "two")
        await channels.psubscribe("t*")
        for _ in range(3):
            assert await channels.get_message(timeout=20) is not None
        await wire.behind.publish("one", b"x" * 100_000)
        await wire.redis.publish("two", "y")
        messages = [await channels.get_message(timeout=20) for _ in range(3)]
        assert [(each["type"], len(each["data"])) for each in messages if each] == [
            *(("message", 100_000), ("message", 1), ("pmessage", 1))
        ]
        await channels.unsubscribe("one")
        assert (await channels.get_message(timeout=20) or {})["type"] == "unsubscribe"
    await until(lambda: _nobody_listens(wire.redis), "the proxy ends the connection with the client's")


async def test_a_message_that_comes_in_two_halves_with_a_command_between() -> None:
    halves = [b"*3\r\n$7\r\nmessage\r\n$3\r\none\r\n$9\r\nfirst", b"half\r\n*0\r\n"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for half in halves:
            await reader.readuntil(b"one\r\n")
            writer.write(half)
        writer.close()

    server = await asyncio.start_server(serve, HOST)
    async with server, step_proxy(server.sockets[0].getsockname()[1]) as proxy:
        client = await RawClient.to(proxy.port)
        for name, half in zip(("SUBSCRIBE", "UNSUBSCRIBE"), halves, strict=True):
            client.writer.write(pack_command((name, "one")))
            assert await client.received(len(half)) == half
        client.die()


async def _nobody_listens(redis: Redis) -> bool:
    return await redis.pubsub_numsub("two") == [(b"two", 0)]


async def test_big_commands_and_replies(wire: Wire) -> None:
    value = bytes(range(256)) * 20_000
    await wire.behind.set("big", value)
    assert await wire.behind.get("big") == value
    members = {f"{i:06}{'x' * 50}": i for i in range(20_000)}
    await wire.behind.zadd("many", members)
    assert len(await wire.behind.zrange("many", 0, -1, withscores=True)) == len(members)
    ids = [f"m{i}" for i in range(1000)]
    await wire.due(*ids)
    assert set((await wire.schedule.claim(1000)).due) == set(ids)
    assert len(wire.seen[-1].reply[3]) == 2000


async def test_many_clients_at_once_each_get_their_own_answers(wire: Wire) -> None:
    async def client(name: int) -> list[bytes]:
        return [await wire.behind.echo(f"{name}-{i}") for i in range(50)]

    sent = await asyncio.gather(*(client(name) for name in range(20)))
    assert sent == [[f"{name}-{i}".encode() for i in range(50)] for name in range(20)]


async def test_a_malformed_command_ends_its_connection(wire: Wire) -> None:
    client = await RawClient.to(wire.proxy.port)
    client.writer.write(b"*1\r\n:1\r\n")
    assert await client.sees_the_end()


async def test_a_step_is_seen_before_its_answer_is_delayed(wire: Wire) -> None:
    await wire.due("a")
    claim = await wire.claiming()
    await claim
    wire.proxy.delay_s = 3600
    claim = await wire.claiming()
    await until(lambda: len(wire.seen) == 2, "the second claim is answered")
    assert not claim.done()
    wire.proxy.delay_s = 0
    await wire.schedule.claim(10)
    assert not claim.done()
    await wire.proxy.cut()
    with pytest.raises(RedisError):
        await claim


async def test_a_command_in_flight_fails_when_the_server_is_killed(wire: Wire) -> None:
    point = wire.proxy.break_at("claim", "asked")
    claim = await wire.claiming()
    await point.hit(20)
    await wire.server.restart(kill=True)
    with pytest.raises(RedisError):
        await claim
    point.release()
    assert (await wire.schedule.claim(10)).due == {}


@pytest_asyncio.fixture(params=[FaultProxy, StepProxy])
async def proxy(request: pytest.FixtureRequest, private_redis: RedisServer) -> AsyncIterator[FaultProxy]:
    async with running(request.param(private_redis.port)) as proxy:
        yield proxy


async def connected(proxy: FaultProxy) -> RawClient:
    client = await RawClient.to(proxy.port)
    client.writer.write(PING)
    assert await client.received(len(PONG)) == PONG
    return client


async def test_replies_are_delayed_in_parallel(proxy: FaultProxy) -> None:
    proxy.delay_s = 0.2
    client = await RawClient.to(proxy.port)
    began = time.monotonic()
    for _ in range(20):
        client.writer.write(PING)
        await asyncio.sleep(0.005)  # so that each arrives alone
    assert await client.received(20 * len(PONG)) == 20 * PONG
    assert 0.2 <= time.monotonic() - began < 20 * 0.2
    client.die()


async def test_requests_are_held_until_they_are_released(proxy: FaultProxy, wire_past: Redis) -> None:
    client = await connected(proxy)
    proxy.hold_requests()
    client.writer.write(pack_command(("SET", "a", 1)))
    await until(lambda: proxy.requests == 1)
    assert await client.is_silent()
    assert await wire_past.get("a") is None
    client.die()
    proxy.release_requests()
    await until(lambda: _is_set(wire_past), "asked is asked, though the client is gone")


async def test_replies_are_held_until_they_are_released(proxy: FaultProxy, wire_past: Redis) -> None:
    client = await RawClient.to(proxy.port)
    proxy.hold_replies()
    client.writer.write(pack_command(("SET", "a", 1)))
    await until(lambda: _is_set(wire_past))
    assert await client.is_silent()
    proxy.release_replies()
    assert await client.received(5) == b"+OK\r\n"
    client.die()


async def test_down_closes_connections_and_refuses_new_ones_and_up_holds_nothing(proxy: FaultProxy) -> None:
    client = await connected(proxy)
    proxy.hold_requests()
    proxy.hold_replies()
    await proxy.down()
    assert await client.sees_the_end()
    with pytest.raises(ConnectionRefusedError):
        await RawClient.to(proxy.port)
    await proxy.up()
    (await connected(proxy)).die()


async def _is_set(redis: Redis) -> bool:
    return await redis.get("a") == b"1"


@pytest_asyncio.fixture
async def wire_past(private_redis: RedisServer) -> AsyncIterator[Redis]:
    """A client that goes past the proxy."""
    async with Redis(port=private_redis.port) as client:
        yield client
