"""Rules about late monitors: since when, and why."""

from collections.abc import Sized

from peekaping_producer.errors import BROKER, DATABASE, REDIS
from peekaping_producer.operations.heartbeat import Heartbeat, Stages, StageTime
from peekaping_producer.operations.look import SILENT_AFTER_S, Look
from peekaping_producer.operations.verdict.model import Verdict, VerdictCode
from peekaping_producer.schedule import LeasedClaim, Stats
from peekaping_producer.service.text import clock_time, counted, duration, one_line

SLOW_FACTOR = 5.0
"""A stage that takes longer than so many times its usual time is slow."""
SLOW_FROM_MS = 250.0
"""A full batch takes longer than a small one, which may be the usual one; below this, no stage delays monitors."""
SLOW_ROUND_TRIP_MS = 200.0
OLD_CLAIM_S = 6.0
"""A claim is in hand for milliseconds; one older than a heartbeat is stuck, or its replica is gone."""
RECLAIM_WITHIN_S = 2.0
"""How long after its end a lease is reclaimed, at most."""
CATCHES_UP_WITHIN_S = 30.0


def _since(look: Look) -> tuple[Stats, float, str] | None:
    """Return the schedule, since when it is late, and that time as text; None if it is not late."""
    stats, since_ms = look.stats, look.late_since_ms
    if stats is None or since_ms is None or not look.is_late:
        return None
    return stats, since_ms, clock_time(since_ms, stats.now_ms)


def cpu(look: Look) -> Verdict | None:
    """A majority of the replicas is slow in the one stage that waits for nothing."""
    if (late := _since(look)) is None:
        return None
    _, since_ms, since = late
    slow = [beat.stages.build for beat in look.heartbeats.values() if _is_slow(beat.stages.build)]
    if not look.is_most(len(slow)):
        return None
    return Verdict(
        VerdictCode.LATE_CPU,
        f"Late since {since}, because the replicas need more CPU.",
        f"Building the tasks of a batch takes {_took(slow, look)}; this stage waits for no other program.",
        since_ms,
    )


def database(look: Look) -> Verdict | None:
    """A majority of the replicas cannot read the database, or reads it slowly."""
    if (late := _since(look)) is None:
        return None
    _, since_ms, since = late
    if failing := _failing(look, DATABASE):
        sentence = f"Late since {since}, because reads of the database fail."
        return Verdict(VerdictCode.LATE_DATABASE, sentence, failing, since_ms)
    slow = [beat.stages.read for beat in look.heartbeats.values() if _reads_slowly(beat)]
    if not look.is_most(len(slow)):
        return None
    return Verdict(
        VerdictCode.LATE_DATABASE,
        f"Late since {since}, because the database is slow.",
        f"Reading a batch takes {_took(slow, look)}{_round_trip(look)}.",
        since_ms,
    )


def redis(look: Look) -> Verdict | None:
    """A majority of the replicas waits for Redis."""
    if (late := _since(look)) is None:
        return None
    _, since_ms, since = late
    if failing := _failing(look, REDIS):
        sentence = f"Late since {since}, because calls to Redis fail."
        return Verdict(VerdictCode.LATE_REDIS, sentence, failing, since_ms)
    slow = [_on_redis(beat) for beat in look.heartbeats.values() if _is_distant(beat) or _is_slow(_on_redis(beat))]
    if not look.is_most(len(slow)):
        return None
    return Verdict(
        VerdictCode.LATE_REDIS,
        f"Late since {since}, because Redis is slow.",
        f"The calls of a batch take {_took(slow, look)}{_round_trip(look)}. "
        "Look at SLOWLOG, memory and persistence (fork) of Redis.",
        since_ms,
    )


def broker(look: Look) -> Verdict | None:
    """A majority of the replicas cannot publish to a broker outside Redis, or publishes slowly."""
    if (late := _since(look)) is None:
        return None
    _, since_ms, since = late
    if failing := _failing(look, BROKER):
        sentence = f"Late since {since}, because calls to the broker fail."
        return Verdict(VerdictCode.LATE_BROKER, sentence, failing, since_ms)
    beats = [beat for beat in look.heartbeats.values() if _publishes(beat) and _is_slow(beat.stages.hand_off)]
    if not look.is_most(len(beats)):
        return None
    took = _took([beat.stages.hand_off for beat in beats], look)
    sentence = f"Late since {since}, because the broker is slow."
    return Verdict(VerdictCode.LATE_BROKER, sentence, f"Publishing a batch takes {took}.", since_ms)


def claim(look: Look) -> Verdict | None:
    """A claim that has not ended contains the monitors that have waited longest."""
    if (late := _since(look)) is None:
        return None
    stats, since_ms, since = late
    oldest, claimed_ms = stats.oldest_claim, look.claimed_since_ms
    if oldest is None or claimed_ms is None or claimed_ms > since_ms:
        return None
    held_s = (stats.now_ms - claimed_ms) / 1000
    if held_s < OLD_CLAIM_S:
        return None
    monitors = counted(oldest.monitors, "monitor")
    ends_ms = max(oldest.ends_ms, stats.now_ms) + 1000 * RECLAIM_WITHIN_S
    again = f"due again within {duration((ends_ms - stats.now_ms) / 1000)}"
    node = _holder(look, oldest)
    if node is None:
        cause = f"a claim of {monitors} has lasted for {duration(held_s)}"
        details = f"No report contains it{_suspect(look)}. The monitors are {again}."
    elif node in look.silent:
        cause = f"{look.name(node)} stopped reporting while it held {monitors}"
        heard = clock_time(look.silent[node][0].at_ms, stats.now_ms)
        details = f"Its last report is from {heard}. The monitors are {again}."
    else:
        cause = f"{look.name(node)} has held {monitors} for {duration(held_s)}"
        details = f"{_doing(look.heartbeats.get(node))}If it does not hand them off, they are {again}."
    return Verdict(VerdictCode.LATE_CLAIM, f"Late since {since}, because {cause}.", details, since_ms, ends_ms)


def catching_up(look: Look) -> Verdict | None:
    """The replicas hand off more than becomes due."""
    if (late := _since(look)) is None:
        return None
    stats, since_ms, since = late
    rate = look.handed_off_per_s_since(since_ms)
    before = max((beat.overdue for beat in look.heartbeats.values()), default=0)
    if not rate or not stats.overdue:
        return None
    left_s = stats.overdue / rate
    if not (stats.overdue < before if before else left_s <= CATCHES_UP_WITHIN_S):
        return None
    return Verdict(
        VerdictCode.CATCHING_UP,
        f"Catching up: {counted(stats.overdue, 'monitor')} overdue since {since}; done in about {duration(left_s)}.",
        f"The replicas hand off {rate:,.0f} monitors a second.",
        since_ms,
        stats.now_ms + 1000 * left_s,
    )


def unknown(look: Look) -> Verdict | None:
    """Late, and there is no evidence for a cause."""
    if (late := _since(look)) is None:
        return None
    stats, since_ms, since = late
    longest = ""
    if stats.oldest_id and stats.oldest_due_ms == since_ms:
        longest = f"; monitor {one_line(stats.oldest_id, 64)} has waited for {duration(stats.oldest_due_age_s)}"
    newest_ms = max((report.at_ms for report in stats.reports), default=None)
    evidence = "The heartbeats show no cause that is common to most replicas."
    if newest_ms is not None and stats.now_ms - newest_ms > 1000 * SILENT_AFTER_S:
        evidence = f"No replica has reported since {clock_time(newest_ms, stats.now_ms)}."
    overdue = f"{counted(stats.overdue, 'monitor')} overdue{longest}"
    return Verdict(VerdictCode.LATE, f"Late since {since}.", f"{overdue}. {evidence}", since_ms)


def _doing(beat: Heartbeat | None) -> str:
    """Name the slow stage of a replica, as a sentence; '' if none is known to be slow."""
    if beat is None:
        return ""
    stages = {
        "Reading the database for a batch": beat.stages.read,
        "Building the tasks of a batch": beat.stages.build,
        "Handing off a batch": beat.stages.hand_off,
    }
    slow = {name: stage.recent_ms for name, stage in stages.items() if stage.recent_ms and _is_slow(stage)}
    return "".join(f"{name} takes {duration(ms / 1000)} there. " for name, ms in slow.items())


def _holder(look: Look, oldest: LeasedClaim) -> str | None:
    """Return the node whose heartbeat contains the claim."""
    beats = {**{node: beat for node, (_, beat) in look.silent.items()}, **look.heartbeats}
    return next((node for node, beat in beats.items() if any(held.token == oldest.token for held in beat.claims)), None)


def _suspect(look: Look) -> str:
    """Name who may hold a claim that no heartbeat contains: a heartbeat is older than the claims made after it."""
    if len(look.silent) != 1:
        return ": its producer has ended, or is not a replica"
    (node, (report, _)) = next(iter(look.silent.items()))
    return f"; {look.name(node)}, silent since {clock_time(report.at_ms, look.now_ms)}, probably made it"


def _failing(look: Look, dependency: str) -> str:
    """Return a sentence if calls of workers to the dependency fail on a majority of the replicas; else ''."""
    failing = look.failing(dependency)
    if not look.is_most(len(failing)):
        return ""
    first = min(failing, key=lambda found: found.since_ms)
    since = clock_time(first.since_ms, look.now_ms)
    return f"They fail on {_share(failing, look)}, since {since}: {one_line(first.reason, 200)}"


def _reads_slowly(beat: Heartbeat) -> bool:
    stages = beat.stages
    times = (stages.claim, stages.read, stages.build, stages.hand_off)
    batch_ms = sum(stage.recent_ms or 0.0 for stage in times)
    return _is_slow(stages.read) and 2 * (stages.read.recent_ms or 0.0) > batch_ms


def _publishes(beat: Heartbeat) -> bool:
    """Whether the replica hands off to a broker outside Redis."""
    return beat.settings.get("BROKER", "asynq") != "asynq"


def _on_redis(beat: Heartbeat) -> StageTime:
    """The time of a batch that Redis needs."""
    stages = [beat.stages.claim] if _publishes(beat) else [beat.stages.claim, beat.stages.hand_off]
    recent = [stage.recent_ms for stage in stages if stage.recent_ms is not None]
    usual = [stage.usual_ms for stage in stages if stage.usual_ms is not None]
    return StageTime(sum(recent) if recent else None, sum(usual) if usual else None)


def _is_distant(beat: Heartbeat) -> bool:
    """Whether a round trip to Redis takes long, and longer than is usual; a claim is at least one."""
    return (beat.round_trip_ms or 0.0) > max(SLOW_ROUND_TRIP_MS, SLOW_FACTOR * (beat.stages.claim.usual_ms or 0.0))


def slow_stages(stages: Stages) -> list[str]:
    """Return the names of the stages that take much longer than usual, and long enough to delay monitors."""
    return [name for name in Stages.__struct_fields__ if _is_slow(getattr(stages, name))]


def _is_slow(stage: StageTime) -> bool:
    if stage.usual_ms is None or stage.recent_ms is None:
        return False
    return stage.recent_ms > max(SLOW_FROM_MS, SLOW_FACTOR * stage.usual_ms)


def _took(slow: list[StageTime], look: Look) -> str:
    """Describe the slowest of these, and on how many replicas the stage is slow."""
    worst = max(slow, key=lambda stage: stage.recent_ms or 0.0)
    usual = "" if worst.usual_ms is None else f" where {duration(worst.usual_ms / 1000)} is usual"
    return f"{duration((worst.recent_ms or 0.0) / 1000)}{usual}, on {_share(slow, look)}"


def _share(found: Sized, look: Look) -> str:
    return f"{len(found)} of {counted(len(look.heartbeats), 'replica')}"


def _round_trip(look: Look) -> str:
    known = [beat.round_trip_ms for beat in look.heartbeats.values() if beat.round_trip_ms is not None]
    return f"; Redis answers in {duration(max(known) / 1000)}" if known else ""
