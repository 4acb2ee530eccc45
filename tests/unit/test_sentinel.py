"""Finding the master: the order of the sentinels, wrong replies, and the errors."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from peekaping_producer.errors import RedisRefusedError, RedisUnavailableError, RedisUnusableError, UnreachableError
from peekaping_producer.redis_client import sentinel as sentinel_module
from peekaping_producer.redis_client.client import check_server, redis_for
from peekaping_producer.targets import RedisTarget, Sentinels, Tls
from tests.kit.certificates import self_signed, server_context
from tests.kit.fake_redis import fake_redis, hello, info, mute_server
from tests.kit.fault_proxy import fault_proxy
from tests.kit.processes import HOST, free_port
from tests.kit.waiting import until

CANARY = "s3ntinel-canary"
MASTER = b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"
REPLICA = b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:6379\r\n$9\r\nconnected\r\n:0\r\n"
SERVING = {"ROLE": MASTER, "INFO": info(redis_version="7.2.0", redis_mode="standalone")}


def names(master: RedisTarget, host: str = HOST) -> dict[str, bytes | None]:
    """Return the replies of a sentinel that reports this master."""
    words = (host.encode(), str(master.port).encode())
    return {"SENTINEL": b"*2\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)}


def behind(*sentinels: RedisTarget | int, password: str | None = None) -> RedisTarget:
    ports = [each if isinstance(each, int) else each.port for each in sentinels]
    return RedisTarget(
        sentinels=Sentinels(addresses=tuple((HOST, port) for port in ports), master="here", password=password)
    )


async def why_not(target: RedisTarget) -> Exception:
    """Return the error of check_server."""
    async with redis_for(target, connections=1) as client:
        with pytest.raises((RedisUnusableError, UnreachableError)) as caught:
            await check_server(client, target)
    assert CANARY not in str(caught.value)
    return caught.value


async def command_and_check(client: Redis) -> None:
    """Run a command, and wait for the check of the sentinels that it starts (CHECK_EVERY_S is 0)."""
    assert await client.set("test:a", 1)
    await client.connection_pool.connection_kwargs["finder"]._checking


async def new_connections(client: Redis, count: int) -> None:
    """Run a command on `count` new connections, one after another."""
    for _ in range(count):
        assert await client.set("test:a", 1)
        await client.connection_pool.disconnect()


async def test_a_sentinel_that_does_not_answer_is_asked_once() -> None:
    async with (
        fake_redis(SERVING) as master,
        fake_redis(names(master)) as sentinel,
        mute_server() as (mute, taken),
        redis_for(behind(free_port(), mute, sentinel), connections=2) as client,
    ):
        await new_connections(client, 5)
        assert len(taken) == 1


@pytest.mark.parametrize("role", [REPLICA, None], ids=["a replica", "a dead master"])
async def test_a_sentinel_that_reports_another_server_is_asked_last(role: bytes | None) -> None:
    async with (
        fake_redis(SERVING) as master,
        fake_redis({"ROLE": role}) as other,
        fake_redis(names(other if role else RedisTarget(host=HOST, port=free_port()))) as stale,
        fake_redis(names(master)) as sentinel,
        redis_for(behind(stale, sentinel), connections=2) as client,
    ):
        reason = "is not a master, although a sentinel returned its address" if role else "Connection refused"
        with pytest.raises(RedisUnavailableError, match=reason):
            await client.set("test:a", 1)
        await new_connections(client, 3)


@pytest.mark.parametrize(
    "reply",
    [
        b"-READONLY You can't write against a read only replica.\r\n",
        b"-ERR Error running script (call to f_1): @user_script:9: -READONLY You can't write against a replica.\r\n",
    ],
)
async def test_a_connection_to_a_demoted_master_closes_at_once(reply: bytes) -> None:
    async with (
        fake_redis(SERVING) as new,
        fake_redis(SERVING | {"EVALSHA": reply}) as old,
        fake_redis(replies := names(old)) as sentinel,
        redis_for(behind(sentinel), connections=1) as client,
    ):
        assert await client.set("test:a", 1)
        replies |= names(new)
        with pytest.raises(RedisUnavailableError, match="is a replica, not the master"):
            await client.evalsha("f" * 40, 0)
        assert await client.evalsha("f" * 40, 0) == b"OK"


async def test_connections_move_from_an_old_master_that_still_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """After SENTINEL FAILOVER the old master accepts writes for 8 s, which are lost."""
    monkeypatch.setattr(sentinel_module, "CHECK_EVERY_S", 0.05)
    async with (
        fake_redis(SERVING | {"GET": b"$3\r\nold\r\n"}) as old,
        fake_redis(SERVING | {"GET": b"$3\r\nnew\r\n"}) as new,
        fake_redis(replies := names(old)) as sentinel,
        redis_for(behind(sentinel), connections=1) as client,
    ):

        async def at_the_new_one() -> bool:
            return await client.get("test:a") == b"new"

        assert not await at_the_new_one()
        replies |= names(new)
        await until(at_the_new_one)


async def test_a_new_master_is_logged_once_for_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentinel_module, "CHECK_EVERY_S", 0.01)
    async with (
        fake_redis(SERVING | {"GET": b"$3\r\nold\r\n"}) as old,
        fake_redis(SERVING | {"GET": b"$3\r\nnew\r\n"}) as new,
        fake_redis(replies := names(old)) as sentinel,
        redis_for(behind(sentinel), connections=5) as client,
    ):

        async def all_at_the_new_one() -> bool:
            return set(await asyncio.gather(*(client.get("test:a") for _ in range(5)))) == {b"new"}

        with capture_logs() as lines:
            assert not await all_at_the_new_one()
            assert lines == []
            replies |= names(new)
            await until(all_at_the_new_one)
    (line,) = lines
    assert (line["event"], line["log_level"]) == ("redis.master_changed", "warning")
    assert (line["master"], line["before"]) == (f"{HOST}:{new.port}", f"{HOST}:{old.port}")


@pytest.mark.parametrize("refusal", [b"-NOPERM no permissions\r\n", b"-ERR unknown command 'ROLE'\r\n"])
async def test_without_the_right_for_role_hello_or_a_write_decides(refusal: bytes) -> None:
    silent = SERVING | {"ROLE": refusal, "HELLO": refusal}
    telling = SERVING | {"ROLE": refusal, "HELLO": hello("7.2.0", role="replica")}
    async with fake_redis(silent) as master, fake_redis(telling) as replica:
        async with fake_redis(names(master)) as sentinel, redis_for(behind(sentinel), connections=1) as client:
            assert await client.set("test:a", 1)
        async with fake_redis(names(replica)) as sentinel, redis_for(behind(sentinel), connections=1) as client:
            with pytest.raises(RedisUnavailableError, match="is not a master"):
                await client.set("test:a", 1)


@pytest.mark.parametrize("role", [b"*0\r\n", b"*-1\r\n", b":1\r\n", b"*1\r\n:1\r\n", b"*1\r\n$2\r\n\xff\xfe\r\n"])
async def test_a_malformed_role_is_not_a_master(role: bytes) -> None:
    async with (
        fake_redis(SERVING | {"ROLE": role}) as server,
        fake_redis(names(server)) as sentinel,
        redis_for(behind(sentinel), connections=1) as client,
    ):
        for _ in range(2):  # a connection that is not greeted to the end is not kept
            with pytest.raises(RedisUnavailableError, match="is not a master"):
                await client.set("test:a", 1)


async def test_connections_stay_when_the_sentinels_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentinel_module, "CHECK_EVERY_S", 0.0)
    async with (
        fake_redis(SERVING) as master,
        fake_redis(replies := names(master)) as sentinel,
        redis_for(behind(sentinel), connections=1) as client,
    ):
        assert await client.set("test:a", 1)
        for reply in (None, b"*-1\r\n", b"-NOAUTH Authentication required.\r\n"):
            replies["SENTINEL"] = reply
            for _ in range(10):
                await command_and_check(client)


async def test_sentinels_are_not_asked_for_each_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentinel_module, "CHECK_EVERY_S", 3600.0)
    async with (
        fake_redis(SERVING) as master,
        fake_redis(names(master)) as sentinel,
        fault_proxy(sentinel.port) as counting,
        redis_for(behind(counting.port), connections=1) as client,
    ):
        assert await client.set("test:a", 1)
        asked = counting.requests
        for _ in range(20):
            assert await client.set("test:a", 1)
        assert counting.requests == asked > 0


async def test_other_errors_of_the_master_do_not_close_the_connection() -> None:
    async with (
        fake_redis(SERVING | {"GET": b"-WRONGTYPE Operation against a key\r\n"}) as master,
        fake_redis(names(master)) as sentinel,
        redis_for(behind(sentinel), connections=1) as client,
    ):
        with pytest.raises(RedisRefusedError, match="WRONGTYPE"):
            await client.get("test:a")
        assert await check_server(client, behind(sentinel)) == "7.2.0"


REFUSALS: Sequence[bytes] = (
    b"-NOAUTH Authentication required.\r\n",
    b"-NOPERM this user has no permissions to run the 'sentinel' command\r\n",
)


async def test_sentinels_in_protected_mode_end_the_start() -> None:
    async with fake_redis({"SENTINEL": b"-DENIED Redis is running in protected mode. In this\r\n"}) as one:
        error = await why_not(behind(one))
    assert isinstance(error, RedisUnusableError)
    assert "protected mode" in str(error)
    assert "In this" not in str(error)


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_sentinels_that_refuse_us_end_the_start_with_the_setting(refusal: bytes) -> None:
    async with fake_redis({"SENTINEL": refusal}) as one, fake_redis({"SENTINEL": refusal}) as other:
        error = await why_not(behind(one, other, free_port(), password=CANARY))
    assert isinstance(error, RedisUnusableError)
    assert "REDIS_SENTINEL_PASSWORD" in str(error)


async def test_after_a_refused_password_the_next_sentinel_is_asked() -> None:
    async with (
        fake_redis({"AUTH": b"-WRONGPASS invalid username-password pair\r\n"}) as closed,
        fake_redis(SERVING) as master,
        fake_redis(names(master)) as sentinel,
        redis_for(behind(closed, sentinel, password=CANARY), connections=1) as client,
    ):
        assert await client.set("test:a", 1)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"*-1\r\n", "unknown master 'here' (REDIS_SENTINEL_MASTER)"),
        (b"+OK\r\n", "unexpected reply from the sentinel"),
        (b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", "unexpected reply from the sentinel"),
        (b"-ERR unknown command 'SENTINEL'\r\n", "unknown command 'SENTINEL'"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "Protocol error"),
        (b"$999999999999\r\n", "no answer within 1 s"),
        (b"*2\r\n-ERR x\r\n-ERR y\r\n", "unexpected reply from the sentinel"),
        (b"*2\r\n$2\r\n\xff\xfe\r\n$4\r\n6379\r\n", "unexpected reply from the sentinel"),
        (b"*2\r\n$1\r\na\r\n$1\r\n0\r\n", "malformed address from the sentinel"),
        (b"*2\r\n$1\r\na\r\n$5\r\n65536\r\n", "malformed address from the sentinel"),
        (b"*2\r\n$0\r\n\r\n$4\r\n6379\r\n", "malformed address from the sentinel"),
        (b"*2\r\n$3\r\na\rb\r\n$4\r\n6379\r\n", "malformed address from the sentinel"),
        (b"-ERR \x1b[2J\r\n", r"'\x1b[2J'"),
        (b"-ERR " + b"x" * 10_000 + b"\r\n", "x" * 200 + "…"),
    ],
)
async def test_sentinels_without_a_master_may_have_one_later(reply: bytes, said: str) -> None:
    async with fake_redis({"SENTINEL": reply}) as sentinel:
        error = await why_not(behind(sentinel))
    assert isinstance(error, UnreachableError)
    assert f"127.0.0.1:{sentinel.port}" in str(error)
    assert said in str(error)
    assert len(str(error)) < 500


async def test_a_master_may_have_a_name_instead_of_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `announce-hostnames` on one sentinel and off on another, each change of the sentinel looks like a new
    master: the connection moves then, once, and commands go on.
    """
    monkeypatch.setattr(sentinel_module, "CHECK_EVERY_S", 0.0)
    async with (
        fake_redis(SERVING) as master,
        fake_redis(by_name := names(master, host="localhost")) as sentinel,
        fake_redis(names(master)) as other,
        redis_for(behind(sentinel, other), connections=1) as client,
    ):
        for reply in (by_name["SENTINEL"], None):
            by_name["SENTINEL"] = reply
            for _ in range(20):
                await command_and_check(client)


async def test_tls_covers_the_sentinels_and_the_master() -> None:
    with self_signed() as certificate:
        server = server_context(certificate)
        async with (
            fake_redis(SERVING) as master,
            fault_proxy(master.port, tls=server) as master_entrance,
            fake_redis(names(RedisTarget(host=HOST, port=master_entrance.port))) as sentinel,
            fault_proxy(sentinel.port, tls=server) as sentinel_entrance,
        ):
            target = behind(sentinel_entrance.port)
            for tls in (Tls(ca_file=str(certificate)), Tls(verify=False)):
                encrypted = msgspec.structs.replace(target, tls=tls)
                async with redis_for(encrypted, connections=1) as client:
                    assert await check_server(client, encrypted) == "7.2.0"
            untrusted = await why_not(msgspec.structs.replace(target, tls=Tls()))
            in_clear = await why_not(target)
    assert "certificate verify failed" in str(untrusted)
    assert isinstance(in_clear, UnreachableError)


async def test_no_repr_contains_the_sentinels_password() -> None:
    target = behind(free_port(), password=CANARY)
    async with redis_for(target, connections=1) as client:
        finder = client.connection_pool.connection_kwargs["finder"]
        for shown in (target, target.sentinels, client, client.connection_pool, finder):
            assert CANARY not in f"{shown!r} {shown!s}"
