"""Checks of the fleet: what the schedule and the reports of the replicas contain."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from peekaping_producer.errors import ProducerError, UnreachableError
from peekaping_producer.operations import conditions
from peekaping_producer.operations.doctor import workers_group
from peekaping_producer.operations.doctor.checks import CHECK_LIMIT_S, checked, evaluated
from peekaping_producer.operations.doctor.codes import FIRST_REMEDIES, LEVEL_OF, QUEUE_CONDITIONS, Finding, finding
from peekaping_producer.operations.go_producer import claims_of_go_producer
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.status import Status, fetch_status
from peekaping_producer.operations.verdict import VerdictCode, verdict
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.schedule import Member, Schedule
from peekaping_producer.service.text import counted, duration, one_line
from peekaping_producer.targets import RedisTarget

MAX_LEASES = 100
"""Of which the tokens are compared."""
_CODES_OF_VERDICTS = {
    VerdictCode.ON_TIME: "fleet.on_time",
    VerdictCode.CATCHING_UP: "fleet.catching_up",
    VerdictCode.HELD: "fleet.on_hold",
    VerdictCode.MONITORS_LATE: "fleet.monitors_late",
}


async def examine(target: RedisTarget, *, lease_ttl_s: float, broker: str) -> list[Finding]:
    """Read the fleet once; return the findings of the groups fleet and workers."""
    try:
        async with asyncio.timeout(CHECK_LIMIT_S):
            status = await fetch_status(target, lease_ttl_s=lease_ttl_s, with_queue=broker == "asynq")
    except (TimeoutError, UnreachableError) as error:
        return _unknown("unreachable", str(error) or f"no answer within {CHECK_LIMIT_S:g} s")
    except ProducerError as error:
        return _unknown("unusable", str(error))
    except Exception as error:  # one group stops no other
        return _unknown("check_failed", f"the check failed ({type(error).__name__})")
    of_claims = await checked("fleet", "claims", _claims(target, status))
    return [*await findings_of(status), *of_claims, *await workers_group.findings_of(status, broker)]


def _unknown(kind: str, reason: str) -> list[Finding]:
    return [finding(f"{group}.{kind}", f"Unknown: {reason}.") for group in ("fleet", "workers")]


async def findings_of(status: Status) -> list[Finding]:
    """Run the checks that need nothing but the status."""
    return [
        found for name, check in _CHECKS.items() for found in await checked("fleet", name, evaluated(check, status))
    ]


def _verdict(status: Status) -> Iterator[Finding]:
    """The verdict on the schedule; its rules on the queue are checks of the workers."""
    found = verdict(Look(status.stats))
    code = _CODES_OF_VERDICTS.get(found.code, "fleet.not_on_time")
    text = found.sentence if found.is_well else f"{found.sentence} {found.details}"
    yield finding(code, text, first=FIRST_REMEDIES.get(found.code, ""))


def _leader(status: Status) -> Iterator[Finding]:
    stats = status.stats
    if stats.leader and stats.leader_ttl_ms is not None and "/" in stats.leader:
        name = Look(stats).name(stats.leader.partition("/")[0])
        yield finding("fleet.leader", f"{name} leads; its key expires in {duration(stats.leader_ttl_ms / 1000)}.")


def _conditions(status: Status) -> Iterator[Finding]:
    """Those of the schedule and of replicas; a hold is in the verdict, the clock of this host in a check of Redis."""
    elsewhere = (
        QUEUE_CONDITIONS | {"held"} | {condition.code for condition in conditions.of_clocks(status.stats.clock_skew_s)}
    )
    for level, condition in status.conditions:
        if condition.code not in elsewhere and condition.code in conditions.LEVELS:
            yield finding(f"fleet.{condition.code}", condition.reason, LEVEL_OF[level])


def _schedule(status: Status) -> Iterator[Finding]:
    stats = status.stats
    if stats.problems:
        return
    beats = Look(stats).heartbeats.values()
    synced = [beat.synced_ms for beat in beats if beat.synced_ms is not None]
    ago = f"; synced {duration(max(0.0, (stats.now_ms - max(synced)) / 1000))} ago" if synced else ""
    if stats.held:
        verb = "is" if stats.held == 1 else "are"
        yield finding("fleet.monitors_held", f"{counted(stats.held, 'monitor')} {verb} held, and not checked.")
    yield finding("fleet.schedule", f"{counted(stats.scheduled, 'monitor')} scheduled{ago}.")


def _silent(status: Status) -> Iterator[Finding]:
    """The replicas that were killed, or froze, in the last minute."""
    look = Look(status.stats)
    for node, (report, _) in look.silent.items():
        silent_s = duration((look.now_ms - report.at_ms) / 1000)
        yield finding(
            "fleet.replica_silent",
            f"{look.name(node)} has not reported for {silent_s}, and did not shut down normally.",
        )


def _versions(status: Status) -> Iterator[Finding]:
    look = Look(status.stats)
    by_version = _grouped({node: beat.version for node, beat in look.heartbeats.items()}, look)
    if len(by_version) > 1:
        yield finding("fleet.versions_differ", f"Versions differ: {_listed(by_version)}.")
    elif by_version:
        yield finding("fleet.versions", f"{counted(len(look.heartbeats), 'replica')}: version {_listed(by_version)}.")
    for node in look.reports.keys() - look.heartbeats.keys():
        yield finding(
            "fleet.no_heartbeat", f"{look.name(node)} reports no heartbeat: it is older, or has just started."
        )


def _settings(status: Status) -> Iterator[Finding]:
    look = Look(status.stats)
    names = sorted({name for beat in look.heartbeats.values() for name in beat.settings})
    differing = []
    for name in names:
        values = {node: beat.settings.get(name, "absent") for node, beat in look.heartbeats.items()}
        if len(by_value := _grouped(values, look)) > 1:
            differing.append(name)
            yield finding("fleet.settings_differ", f"{one_line(name, 40)} differs: {_listed(by_value)}.")
    if names and not differing:
        yield finding("fleet.settings", f"The same on every replica: {one_line(', '.join(names))}.")


async def _claims(target: RedisTarget, status: Status) -> Iterable[Finding]:
    redis = redis_for(target, connections=1)
    try:
        leases = (await Schedule(redis).look(members=MAX_LEASES)).leases
    finally:
        await redis.aclose()
    return [peer(leases, Look(status.stats))]


def peer(leases: Sequence[Member], look: Look) -> Finding:
    """Return whether a Go producer takes part: the tokens of its claims are whole numbers, and in no heartbeat."""
    tokens = claims_of_go_producer(leases, look)
    if not tokens:
        return finding("fleet.no_peer", "No claim belongs to a Go producer.")
    claims, held = counted(len(tokens), "claim"), counted(sum(tokens.values()), "monitor")
    belong = "belongs" if len(tokens) == 1 else "belong"
    return finding("fleet.peer", f"{claims} of {held} probably {belong} to a Go producer, which also hands off checks.")


def _grouped(values: Mapping[str, str], look: Look) -> Mapping[str, list[str]]:
    """The names of the replicas by value."""
    found: dict[str, list[str]] = defaultdict(list)
    for node, value in values.items():
        found[value].append(look.name(node))
    return found


def _listed(by_value: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{one_line(value, 60)} ({', '.join(sorted(names))})" for value, names in sorted(by_value.items()))


_CHECKS: Mapping[str, Callable[[Status], Iterable[Finding]]] = {
    "verdict": _verdict,
    "leader": _leader,
    "conditions": _conditions,
    "schedule": _schedule,
    "silent replicas": _silent,
    "versions": _versions,
    "settings": _settings,
}
