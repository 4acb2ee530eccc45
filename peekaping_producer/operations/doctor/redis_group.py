"""Checks of the Redis server."""

import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any

from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.brokers.monitor_state import MonitorStateReader
from peekaping_producer.brokers.stray_entries import StrayEntries
from peekaping_producer.errors import ProducerError, UnreachableError
from peekaping_producer.monitors.events import CHANNELS
from peekaping_producer.operations.conditions import CLOCK_SKEW_S
from peekaping_producer.operations.doctor.checks import checked, until_unreachable
from peekaping_producer.operations.doctor.codes import Finding, finding
from peekaping_producer.operations.rights import OPTIONAL_USES, USES
from peekaping_producer.redis_client import server
from peekaping_producer.redis_client.client import Client, check_server, redis_for
from peekaping_producer.redis_client.rights import forbidden, try_rights
from peekaping_producer.redis_client.script import names_by_sha
from peekaping_producer.schedule import Schedule, Steering
from peekaping_producer.service.text import counted, duration, one_line
from peekaping_producer.targets import RedisTarget

SAMPLES = 50
"""Round trips that are measured."""
SLOW_ROUND_TRIP_S = 0.02
"""A median for the note `redis.slow`: far above that of a local network, and below what delays checks."""
CLOCK_DIFFERS_S = 1.0
FULL_SHARE = 0.9
"""Of maxmemory."""
SLOW_WITHIN_S = 3600
_SLOWLOG_ENTRIES = 128
_WRITE_RESULTS = ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")
_MIB = 2**20


async def examine(target: RedisTarget) -> list[Finding]:
    """Run all checks of this group, one after another."""
    redis = redis_for(target, connections=2)
    try:
        findings = await checked("redis", "server", _server(redis, target))
        if any(found.code in {"redis.unreachable", "redis.unusable", "redis.check_failed"} for found in findings):
            return findings
        checks = {name: partial(check, redis) for name, check in _CHECKS.items()}
        return findings + await until_unreachable("redis", checks)
    finally:
        await redis.aclose()


async def _server(redis: Client, target: RedisTarget) -> Iterable[Finding]:
    try:
        version = await check_server(redis, target)
        facts = await server.facts(redis)
    except UnreachableError as error:
        return [finding("redis.unreachable", f"{error}.")]
    except ProducerError as error:
        return [finding("redis.unusable", f"{error}.")]
    if facts.get("role") in {"slave", "replica"}:
        return [finding("redis.not_master", f"{target} is a replica: it accepts no writes.")]
    if version == "unknown":
        return [finding("redis.version_unknown", f"{target} answers; the user may not read its version.")]
    product = one_line(facts.get("server", "redis").capitalize(), 40)
    return [finding("redis.server", f"{product} {one_line(version, 40)} at {target}.")]


async def _memory(redis: Client) -> Iterable[Finding]:
    info = await server.info(redis, "memory") or {}
    policy = await server.eviction_policy(redis)
    if policy is None:
        return [finding("redis.memory_unknown", "The user may not read the eviction policy.")]
    used, limit = _number(info, "used_memory"), _number(info, "maxmemory")
    memory = f"{used / _MIB:,.0f} MiB used" + (f" of {limit / _MIB:,.0f}" if limit else "; maxmemory is not set")
    memory = memory if info else "the user may not read how much memory is used"
    if policy != "noeviction":
        text = f"maxmemory-policy is {one_line(policy, 40)}: Redis may delete due times and tasks; {memory}."
        return [finding("redis.evicts" if limit or not info else "redis.eviction_policy", text)]
    if limit and used > FULL_SHARE * limit:
        return [finding("redis.memory_short", f"Memory is nearly full: {memory}.")]
    return [finding("redis.memory", f"maxmemory-policy noeviction; {memory}.")]


async def _persistence(redis: Client) -> Iterable[Finding]:
    info = await server.info(redis, "persistence")
    if info is None:
        return [finding("redis.persistence_unknown", "The user may not read whether data is persisted.")]
    results = {name: str(info.get(name, "ok")) for name in _WRITE_RESULTS}
    failing = [f"{name} is {one_line(result, 40)}" for name, result in results.items() if result != "ok"]
    if failing:
        return [finding("redis.persistence_failing", f"Redis cannot write its data to disk: {', '.join(failing)}.")]
    if not _number(info, "aof_enabled"):
        text = "appendonly is no: after a restart of Redis every monitor may be due at once, and tasks may be lost."
        return [finding("redis.not_persistent", text)]
    return [finding("redis.persistence", "appendonly is yes, and the last writes succeeded.")]


async def _time(redis: Client) -> Iterable[Finding]:
    """The round trip, and the clock by the sample with the shortest one."""
    samples = [await _sample(redis) for _ in range(SAMPLES)]
    trips_s = [trip_s for trip_s, _ in samples]
    median_s = statistics.median(trips_s)
    text = f"A round trip takes {duration(median_s)} (median of {SAMPLES}; at most {duration(max(trips_s))})."
    shortest_s, ahead_s = min(samples)
    return [
        finding("redis.slow" if median_s > SLOW_ROUND_TRIP_S else "redis.round_trip", text),
        _clock(ahead_s, shortest_s / 2),
    ]


async def _sample(redis: Client) -> tuple[float, float]:
    """Return the round trip and by how much Redis TIME is ahead of the local clock, both in s."""
    began_at, began = time.time(), time.perf_counter()
    seconds, microseconds = await redis.time()
    trip_s = time.perf_counter() - began
    return trip_s, seconds + microseconds / 1e6 - (began_at + trip_s / 2)


def _clock(ahead_s: float, error_s: float) -> Finding:
    side = "ahead of" if ahead_s > 0 else "behind"
    text = f"Redis TIME is {duration(abs(ahead_s))} {side} the clock of this host (± {duration(error_s)})."
    away_s = abs(ahead_s) - error_s
    if away_s > CLOCK_SKEW_S:
        return finding("redis.clock_skew", f"{text} Workers may discard tasks as too old.")
    return finding("redis.clock_differs" if away_s > CLOCK_DIFFERS_S else "redis.clock", text)


async def _slowlog(redis: Client) -> Iterable[Finding]:
    entries = await server.slowlog(redis, _SLOWLOG_ENTRIES)
    if entries is None:
        return [finding("redis.slowlog_unknown", "The user may not read SLOWLOG.")]
    seconds, _ = await redis.time()
    owners = (Schedule(redis), Steering(redis), AsynqBroker(redis), StrayEntries(redis), MonitorStateReader(redis))
    names = names_by_sha(*owners)
    slow = [(took_us, names[sha]) for at_s, took_us, sha in entries if sha in names and at_s > seconds - SLOW_WITHIN_S]
    if not slow:
        return [finding("redis.slowlog", "SLOWLOG contains none of the producer's scripts from the last hour.")]
    took_us, name = max(slow)
    calls = counted(len(slow), "call")
    text = f"SLOWLOG contains {calls} of the last hour; the longest was {name}.lua, with {duration(took_us / 1e6)}."
    return [finding("redis.slow_scripts", text)]


async def _rights(redis: Client) -> Iterable[Finding]:
    tried = await try_rights(redis, USES, CHANNELS)
    if tried.refused:
        return [finding("redis.rights_missing", f"The user lacks {_list(tried.refused)}.")]
    if not tried.is_complete:
        return [finding("redis.rights_unknown", "The user may not use MULTI: rights to commands were not tried.")]
    if missing := await forbidden(redis, OPTIONAL_USES, ()):
        return [finding("redis.rights_optional", f"The user lacks optional rights: {_list(missing)}.")]
    return [finding("redis.rights", "The user has every right that the producer uses.")]


def _list(refused: Iterable[str]) -> str:
    return one_line(", ".join(refused), 500)


def _number(info: Mapping[str, Any], name: str) -> float:
    value = info.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


_CHECKS: Mapping[str, Callable[[Client], Awaitable[Iterable[Finding]]]] = {
    "memory": _memory,
    "persistence": _persistence,
    "round trip and clock": _time,
    "slowlog": _slowlog,
    "rights": _rights,
}
