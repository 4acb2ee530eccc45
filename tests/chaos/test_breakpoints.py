"""Steps of producers, held and lost on the wire."""

import asyncio

import pytest
from hiredis import pack_command

from peekaping_producer.brokers import Outcome
from peekaping_producer.errors import RedisError
from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.schedule.keys import KEYS
from tests.chaos.breakpoints import At, Breakpoint
from tests.chaos.conftest import SILENCE_S, RawClient, Wire
from tests.chaos.steps import line_of
from tests.chaos.wire import StepProxy
from tests.kit.waiting import DEADLINE_S, until

ATS: tuple[At, ...] = ("asked", "answered")


async def claim_by_hand(wire: Wire) -> RawClient:
    """A client that has just asked for a claim of a script that the server knows."""
    sha = await wire.redis.script_load(wire.schedule._claim._text)
    client = await RawClient.to(wire.proxy.port)
    client.writer.write(pack_command(("EVALSHA", sha, 3, KEYS.due, KEYS.lease, KEYS.late, 10, 10_000, 1, 0, 64)))
    return client


async def connections(wire: Wire) -> int:
    """The number of connections that the server has accepted, without that of `wire.redis`."""
    return len([each for each in await wire.redis.client_list() if each["cmd"] != "client|list"])


def end_of(point: Breakpoint, verdict: str) -> None:
    {"release": point.release, "drop": point.drop, "cut": point.cut}[verdict]()


@pytest.mark.parametrize("verdict", ["release", "drop", "cut"])
@pytest.mark.parametrize("at", ATS)
async def test_a_breakpoint_holds_one_step_until_its_verdict(wire: Wire, at: At, verdict: str) -> None:
    await wire.due("a")
    point = wire.proxy.break_at("claim", at)
    client = await claim_by_hand(wire)

    step = await point.hit(DEADLINE_S)
    assert (step.script, step.keys) == ("claim", [each.encode() for each in (KEYS.due, KEYS.lease, KEYS.late)])
    assert step.args == [b"10", b"10000", b"1", b"0", b"64"]
    assert await wire.claimed() == len(wire.seen) == (at == "answered")
    assert await client.is_silent()
    assert (await wire.schedule.claim(10)).due.keys() == ({"a"} if at == "asked" else set()), "others flow"

    await wire.redis.zadd(KEYS.due, {"b": 1})
    end_of(point, verdict)
    if verdict == "release":
        assert await client.received(4) == b"*6\r\n"
    elif verdict == "drop":
        client.writer.write(pack_command(("PING",)))
        assert await client.is_silent(), "the next reply would be taken for the lost one"
    else:
        assert await client.sees_the_end()
    held_claim_ran = at == "answered" or verdict == "release"
    assert len(wire.seen) == 1 + held_claim_ran
    assert (await wire.redis.zscore(KEYS.lease, "b") is not None) == (at == "asked" and verdict == "release")
    client.die()


@pytest.mark.parametrize("verdict", ["release", "drop", "cut"])
@pytest.mark.parametrize("at", ATS)
async def test_a_client_that_dies_while_its_step_is_held(wire: Wire, at: At, verdict: str) -> None:
    await wire.due("a")
    point = wire.proxy.break_at("claim", at)
    client = await claim_by_hand(wire)
    await point.hit(DEADLINE_S)
    await until(lambda: _connected(wire, 1), "the server has accepted the connection of the proxy")
    client.die()
    end_of(point, verdict)
    await until(lambda: _connected(wire, 0), "the proxy closes the connection of the dead client")
    assert await wire.claimed() == len(wire.seen) == (at == "answered" or verdict == "release")
    assert (await wire.schedule.claim(10)).token is not None


async def _connected(wire: Wire, count: int) -> bool:
    return await connections(wire) == count


async def test_two_breakpoints_hold_one_step_each(wire: Wire) -> None:
    first, second = wire.proxy.break_at("claim", "answered"), wire.proxy.break_at("claim", "answered")
    one, other = await wire.claiming(), await wire.claiming()
    assert await first.hit(DEADLINE_S) is not await second.hit(DEADLINE_S)
    await wire.schedule.claim(10)
    assert not one.done()
    assert not other.done()
    first.release()
    second.release()
    await asyncio.gather(one, other)


async def test_a_breakpoint_without_a_hit_holds_nothing_and_can_be_disarmed(wire: Wire) -> None:
    point = wire.proxy.break_at("claim", "asked")
    with pytest.raises(TimeoutError, match=r"no claim was asked: not within 0\.01 s"):
        await point.hit(0.01)
    with pytest.raises(RuntimeError, match="the breakpoint for claim \\(asked\\) holds nothing"):
        point.release()
    assert await wire.schedule.reclaim() == 0, "another script"
    assert point.disarm()
    await wire.schedule.claim(10)
    with pytest.raises(TimeoutError, match="disarmed"):
        await point.hit(DEADLINE_S)


async def test_a_breakpoint_with_a_hit_cannot_be_disarmed_and_its_first_verdict_stands(wire: Wire) -> None:
    point = wire.proxy.break_at("claim", "asked")
    claim = await wire.claiming()
    await point.hit(DEADLINE_S)
    assert not point.disarm()
    point.release()
    point.cut()
    await claim


async def test_a_held_step_ends_with_its_connection(wire: Wire) -> None:
    await wire.due("a")
    point = wire.proxy.break_at("claim", "asked")
    claim = await wire.claiming()
    await point.hit(DEADLINE_S)
    await wire.proxy.cut()
    point.release()
    with pytest.raises(RedisError):
        await claim
    assert await wire.claimed() == 0


def test_an_unknown_script_is_refused() -> None:
    with pytest.raises(ValueError, match="got script 'clam', expected one of campaign, claim"):
        StepProxy(1).break_at("clam", "asked")


@pytest.mark.parametrize("at", ATS)
async def test_a_script_that_the_server_forgot_is_one_step(wire: Wire, at: At) -> None:
    await wire.schedule.claim(10)
    await wire.redis.script_flush()
    await wire.due("a")
    wire.seen.clear()
    point = wire.proxy.break_at("claim", at)
    claim = asyncio.create_task(wire.schedule.claim(10))
    await point.hit(DEADLINE_S)
    assert await wire.claimed() == (at == "answered"), "an answer that says NOSCRIPT is none"
    point.release()
    assert (await claim).due == {"a": 1000.0}
    assert [line_of(step, "a") is not None for step in wire.seen] == [True]


async def test_a_refusal_is_reported_and_hits_no_breakpoint(wire: Wire) -> None:
    point, losses = wire.proxy.break_at("claim", "answered"), wire.proxy.lose_replies_of("claim")
    await wire.redis.set(KEYS.due, "no sorted set")
    with pytest.raises(RedisError, match="WRONGTYPE"):
        await wire.schedule.claim(1)
    assert [step.refused for step in wire.seen] == [True]
    assert (point.was_hit, losses.lost) == (False, 0)


async def test_replies_that_get_lost_are_counted_and_the_product_repeats(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    await wire.due("a")
    claim = await wire.schedule.claim(10)
    for connection in wire.behind.connection_pool._available_connections:
        connection.socket_timeout = SILENCE_S
    monkeypatch.setitem(wire.behind.connection_pool.connection_kwargs, "socket_timeout", SILENCE_S)
    losses = wire.proxy.lose_replies_of("hand_off", times=2)
    handed = await wire.broker.hand_off(claim, [HealthCheckTask("a", 60, 16, b"{}")])
    assert handed.not_enqueued == {"a": Outcome.UNCONFIRMED}
    assert (losses.lost, losses.left) == (2, 0)
    lines = [line_of(step, "a") or {} for step in wire.seen if step.script == "hand_off"]
    assert [line["outcomes"]["a"] for line in lines][:2] == ["enqueued", "lost"]


async def test_losses_can_be_stopped(wire: Wire) -> None:
    losses = wire.proxy.lose_replies_of("claim", times=5)
    losses.stop()
    await wire.schedule.claim(10)
    assert losses.lost == 0
