"""Whatever the server or the library does, the client raises our RedisError, with a bounded text."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import pytest
from redis import exceptions as driver

from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.errors import (
    ProducerError,
    RedisArgumentError,
    RedisError,
    RedisRefusedError,
    RedisUnavailableError,
    RedisUnusableError,
)
from peekaping_producer.redis_client.client import Client, check_rights, check_server, redis_for
from peekaping_producer.redis_client.connection import RedisConnection
from peekaping_producer.redis_client.failures import as_ours, in_words
from peekaping_producer.redis_client.server import eviction_policy
from peekaping_producer.targets import RedisTarget
from tests.kit.fake_redis import fake_redis, info
from tests.kit.redis import target_of

GARBAGE = (
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\x15\x03\x03\x00\x02\x02\x46\r\n",
    b"*1000000000000000000\r\n",
    b"$-5\r\n",
    b":abc\r\n",
    b"%1\r\n*0\r\n+a\r\n",
    b"-MOVED\r\n",
    b"-ASK x y\r\n",
    b"-ERR \xff\xfe\x00\r\n",
    b"*1\r\n" * 2000,
    b"*2\r\n-ERR a\r\n-LOADING b\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"$-1\r\n",
    b":1\r\n",
    b"$2\r\n\xff\xfe\r\n",
    b"-\r\n",
    b"+\r\n",
)
COMMANDS = ["INFO", "HELLO", "CLIENT", "AUTH", "SELECT", "GET", "ZSCAN", "EVALSHA", "SUBSCRIBE", "PING", "MULTI"]


async def use(client: Client, target: RedisTarget) -> None:
    """Everything that a replica does with the client."""

    async def subscribe() -> None:
        pubsub = client.pubsub()
        try:
            await pubsub.subscribe("a", "b")
            await pubsub.get_message(timeout=0.05)
            await pubsub.ping()
            await pubsub.get_message(timeout=0.05)
        finally:
            await pubsub.aclose()

    async def count() -> None:
        async with client.pipeline(transaction=True) as pipe:
            pipe.llen("a")
            await pipe.execute()

    uses: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: client.get("a"),
        lambda: client.zscan("a"),
        lambda: client.evalsha("0" * 40, 0),
        lambda: eviction_policy(client),
        lambda: check_server(client, target),
        lambda: check_rights(client, target, ["PING"], ["a"]),
        subscribe,
        count,
    )
    for each in uses:
        try:
            await each()
        except ProducerError as error:
            text = str(error)
            if len(text) > 1500 or "\x00" in text:
                pytest.fail(f"unbounded text: {text[:100]!r}")


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_any_reply_raises_one_of_our_errors(garbage: bytes) -> None:
    for command in COMMANDS:
        replies = {"INFO": info(redis_version="7.2.0", redis_mode="standalone"), command: garbage}
        async with fake_redis(replies) as here:
            target = RedisTarget(host=here.host, port=here.port, db=1, username="u", password="p")
            async with redis_for(target, connections=2) as client:
                await use(client, target)
                free = client.connection_pool.max_connections - len(client.connection_pool._in_use_connections)
                assert free == 2, "a connection that failed keeps no place in the pool"


@pytest.mark.parametrize(
    "raised", [ValueError("x"), AttributeError("x"), RuntimeError("x"), KeyError("x"), MemoryError(), AssertionError()]
)
@pytest.mark.parametrize(
    "method", ["_connect", "read_response", "send_packed_command", "can_read", "on_connect_check_health"]
)
async def test_any_error_of_a_connection_is_translated_and_closes_it(
    private_redis: RedisServer, monkeypatch: pytest.MonkeyPatch, method: str, raised: Exception
) -> None:
    target = target_of(private_redis)
    async with redis_for(target, connections=2) as client:

        async def fails(*_args: object, **_options: object) -> None:
            raise raised

        with monkeypatch.context() as patched:
            patched.setattr(RedisConnection, method, fails)
            await use(client, target)
            with pytest.raises(RedisUnavailableError):
                await client.get("a")
        assert await client.get("a") is None, "it works again at once"
        assert not client.connection_pool._in_use_connections


async def test_closing_and_releasing_raise_nothing(private_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    target = target_of(private_redis)
    client = redis_for(target, connections=2)
    await asyncio.gather(client.get("a"), client.get("b"))

    def fails(*_args: object, **_options: object) -> None:
        raise RuntimeError("handler is closed")

    for connection in client.connection_pool._available_connections:
        monkeypatch.setattr(connection._writer, "close", fails)
    await client.aclose()
    assert all(not connection.is_connected for connection in client.connection_pool._available_connections)


async def test_a_connection_closed_by_another_task_raises_redis_error(private_redis: RedisServer) -> None:
    """As when Redis and the client shut down at the same time."""
    async with redis_for(target_of(private_redis), connections=10) as client:
        rng = random.Random(7)

        async def command() -> None:
            with contextlib.suppress(RedisError):
                await client.evalsha("0" * 40, 0)

        for _ in range(40):
            commands = [asyncio.create_task(command()) for _ in range(8)]
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            await client.connection_pool.disconnect()
            await asyncio.gather(*commands)
        assert await client.ping()


async def test_a_command_that_cannot_be_packed_raises_argument_error(private_redis: RedisServer) -> None:
    """The connection stays: nothing was sent."""
    async with redis_for(target_of(private_redis), connections=1) as client:
        for odd in ("\ud800", object(), ["a"]):
            with pytest.raises(RedisArgumentError):
                await client.execute_command("ECHO", odd)
        assert await client.ping()


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("DENIED Redis is running in protected mode because no password is set. In this mode " + "x" * 900, 68),
        ("x" * 5000, 201),
        ("ERR first line\r\nsecond line", 14),
    ],
)
def test_an_error_contains_the_first_sentence_of_a_reply(reply: str, words: int) -> None:
    said = in_words(driver.ResponseError(reply))
    assert len(said) == words
    assert said.rstrip("…") == reply[: len(said.rstrip("…"))]


def test_an_error_contains_no_control_characters_and_no_arguments() -> None:
    assert in_words(driver.ResponseError("ERR \x1b[2J")) == r"'ERR \x1b[2J'"
    quoted = "unknown command 'AUTH', with args beginning with: 'canary' "
    assert in_words(driver.ResponseError(quoted)) == "unknown command 'AUTH'"


async def test_every_error_has_a_bounded_text() -> None:
    async with (
        fake_redis({"GET": b"-ERR one. " + b"two " * 500 + b"\r\n"}) as target,
        redis_for(target, connections=1) as client,
    ):
        with pytest.raises(RedisArgumentError) as caught:
            await client.get("a")
    assert str(caught.value) == "one"


async def test_a_malformed_host_name_ends_the_start_and_an_unknown_one_does_not() -> None:
    for host, kind, words in (
        ("a..b", RedisUnusableError, "REDIS_HOST: expected a host name, got 'a..b'"),
        ("x" * 64 + ".example", RedisUnusableError, "REDIS_HOST: expected a host name"),
        ("nowhere.invalid", ProducerError, "'nowhere.invalid': "),
    ):
        target = RedisTarget(host=host, port=6379)
        async with redis_for(target, connections=1) as client:
            with pytest.raises(kind) as caught:
                await check_server(client, target)
        assert words in str(caught.value)
        assert isinstance(caught.value, RedisUnusableError) is (kind is RedisUnusableError)


async def test_the_eviction_policy_is_read_if_allowed(private_redis: RedisServer) -> None:
    target = target_of(private_redis)
    async with redis_for(target, connections=1) as client:
        assert await eviction_policy(client) == "noeviction"
        await client.config_set("maxmemory-policy", "allkeys-lru")
        assert await eviction_policy(client) == "allkeys-lru"
    policy = b"*2\r\n$16\r\nmaxmemory-policy\r\n$12\r\nvolatile-ttl\r\n"
    forbidden = b"-NOPERM User u has no permissions\r\n"
    for replies, expected in (
        ({"INFO": forbidden, "CONFIG": policy}, "volatile-ttl"),
        ({"INFO": forbidden, "CONFIG": forbidden}, None),
        ({"INFO": None, "CONFIG": None}, None),
    ):
        async with fake_redis(replies) as fake, redis_for(fake, connections=1) as client:
            assert await eviction_policy(client) == expected


async def test_a_full_pool_raises_redis_error(private_redis: RedisServer) -> None:
    async with redis_for(target_of(private_redis), connections=1) as client:
        results = await asyncio.gather(*(client.get("a") for _ in range(5)), return_exceptions=True)
    assert all(isinstance(each, RedisUnavailableError) or each is None for each in results)


@pytest.mark.parametrize(
    ("reply", "raised", "code"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", RedisRefusedError, "OOM"),
        ("NOSCRIPT No matching script.", RedisRefusedError, "NOSCRIPT"),
        ("NOPERM User u has no permissions to run the 'evalsha' command", RedisRefusedError, "NOPERM"),
        ("MISCONF Redis is configured to save RDB snapshots", RedisRefusedError, "MISCONF"),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", RedisRefusedError, "WRONGTYPE"),
        ("ERR Error running script (call to f_1): @user_script:9: -OOM command not allowed", RedisRefusedError, "ERR"),
        ("ERR ACL failure in script: User default has no permissions", RedisRefusedError, "ERR"),
        ("ERR Protocol error: invalid bulk length", RedisArgumentError, "ERR"),
        ("ERR value is not a valid float", RedisArgumentError, "ERR"),
    ],
)
async def test_a_refusal_has_its_code_and_the_class_of_its_reason(
    reply: str, raised: type[RedisRefusedError], code: str
) -> None:
    async with fake_redis({"GET": f"-{reply}\r\n".encode()}) as target, redis_for(target, connections=1) as client:
        with pytest.raises(RedisRefusedError) as caught:
            await client.get("a")
    assert (type(caught.value), caught.value.code) == (raised, code)
    assert str(caught.value) == reply.removeprefix("ERR ").rstrip(".")


@pytest.mark.parametrize(
    "error",
    [
        driver.ConnectionError("Connection closed by server."),
        driver.TimeoutError("Timeout reading"),
        driver.BusyLoadingError("Redis is loading the dataset in memory", status_code="LOADING"),
        driver.AuthenticationError("invalid username-password pair", status_code="WRONGPASS"),
        ConnectionResetError(),
        OSError(113, "no route"),
    ],
)
def test_without_an_answer_redis_is_unavailable(error: driver.RedisError | OSError) -> None:
    assert type(as_ours(error)) is RedisUnavailableError
