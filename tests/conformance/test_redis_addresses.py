"""A host name with several addresses: all are tried, for Redis, for sentinels and for the master."""

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.errors import RedisUnusableError, UnreachableError
from peekaping_producer.redis_client.client import check_server, redis_for
from peekaping_producer.targets import RedisTarget, Sentinels
from tests.kit.fake_redis import fake_redis, hello, info, mute_server
from tests.kit.processes import HOST, free_port

NAME = "redis-of-many.example"
DROPS_PACKETS = "192.0.2.1"
SERVING = {"INFO": info(redis_version="7.2.0", redis_mode="standalone"), "HELLO": hello("7.2.0")}


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Sequence[str]]:
    """The addresses of these names; all others are resolved as usual."""
    known: dict[str, Sequence[str]] = {}
    really = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **options: Any) -> list[Any]:
        text = host.decode() if isinstance(host, bytes) else host
        return [each for ip in known.get(text, (text,)) for each in really(ip, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


@pytest.mark.parametrize(
    "dead", [["::1"], ["127.0.0.2"], ["::1", "127.0.0.2", "127.0.0.3", "127.0.0.4"], [DROPS_PACKETS]]
)
async def test_addresses_without_a_server_are_skipped(
    private_redis: RedisServer, names: dict[str, Sequence[str]], dead: list[str]
) -> None:
    names[NAME] = [*dead, HOST]
    target = RedisTarget(host=NAME, port=private_redis.port)
    async with redis_for(target, connections=1) as client:
        assert await check_server(client, target)


@pytest.mark.parametrize("dead", ["::1", "127.0.0.2"])
async def test_an_address_that_never_answers_is_tried_once(
    private_redis: RedisServer, names: dict[str, Sequence[str]], dead: str
) -> None:
    names[NAME] = [dead, HOST]
    target = RedisTarget(host=NAME, port=private_redis.port)
    async with mute_server(dead, private_redis.port) as (_, taken), redis_for(target, connections=3) as client:
        assert await check_server(client, target)
        await asyncio.gather(*(client.get("a") for _ in range(3)))
        assert len(taken) == 1, "the address that served is tried first"


async def test_an_address_of_another_kind_of_server_is_skipped(names: dict[str, Sequence[str]]) -> None:
    names[NAME] = ["127.0.0.2", HOST]

    def web(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with fake_redis(SERVING) as ours:
        server = await asyncio.start_server(web, "127.0.0.2", ours.port)
        target = RedisTarget(host=NAME, port=ours.port)
        async with redis_for(target, connections=1) as client:
            assert await check_server(client, target) == "7.2.0"
        server.close()


async def test_the_other_address_is_used_when_the_first_server_ends(names: dict[str, Sequence[str]]) -> None:
    names[NAME] = ["127.0.0.2", HOST]
    async with fake_redis(SERVING | {"GET": b"$3\r\none\r\n"}) as one:

        async def second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(65536):
                writer.write(b"+OK\r\n")
            writer.close()

        async with redis_for(RedisTarget(host=NAME, port=one.port), connections=1) as client:
            server = await asyncio.start_server(second, "127.0.0.2", one.port)
            assert await client.get("a") == b"OK"
            server.close()
            await client.connection_pool.disconnect()
            assert await client.get("a") == b"one"


async def test_a_replica_among_the_addresses_is_skipped(names: dict[str, Sequence[str]]) -> None:
    """As behind one name for all pods of a Redis."""
    names[NAME] = ["127.0.0.2", HOST]
    async with fake_redis(SERVING | {"SET": b"+OK\r\n"}) as master:

        async def replica(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while sent := await reader.read(65536):
                writer.write(b"-READONLY You can't write here.\r\n" if b"SET\r" in sent else b"+OK\r\n")
            writer.close()

        server = await asyncio.start_server(replica, "127.0.0.2", master.port)
        async with redis_for(RedisTarget(host=NAME, port=master.port), connections=1) as client:
            with pytest.raises(Exception, match="is a replica"):
                await client.set("test:a", 1)
            assert await client.set("test:a", 1)
        server.close()


async def test_if_no_address_works_the_error_contains_each(names: dict[str, Sequence[str]]) -> None:
    names[NAME] = ["::1", HOST]
    target = RedisTarget(host=NAME, port=free_port())
    async with redis_for(target, connections=1) as client:
        with pytest.raises(UnreachableError, match=r"::1: Connection refused; 127\.0\.0\.1: Connection refused"):
            await check_server(client, target)


async def test_after_a_refusal_no_other_address_is_tried(names: dict[str, Sequence[str]]) -> None:
    names[NAME] = ["127.0.0.2", HOST]
    async with fake_redis({"AUTH": b"-WRONGPASS invalid username-password pair\r\n"}) as closed:
        target = RedisTarget(host=NAME, port=closed.port, password="canary")
        async with redis_for(target, connections=1) as client:
            with pytest.raises(RedisUnusableError, match="REDIS_PASSWORD"):
                await check_server(client, target)


@pytest.mark.parametrize("mute_first", [False, True])
async def test_sentinels_and_their_master_have_several_addresses_too(
    names: dict[str, Sequence[str]], mute_first: bool
) -> None:
    names[NAME] = ["::1", HOST]
    async with fake_redis(SERVING) as master:
        words = (NAME.encode(), str(master.port).encode())
        reply = b"*2\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
        async with fake_redis({"SENTINEL": reply}) as sentinel:
            target = RedisTarget(sentinels=Sentinels(addresses=((NAME, sentinel.port),), master="m"))
            elsewhere = sentinel.port if mute_first else free_port()
            async with mute_server("::1", elsewhere), redis_for(target, connections=1) as client:
                assert await check_server(client, target) == "7.2.0"
