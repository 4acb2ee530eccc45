"""A lost leader key, false events, replicas with one identity or with wrong clocks, and rolling restarts."""

import asyncio
import json
from pathlib import Path

from peekaping_producer.monitors.events import CHANNEL_PREFIX
from peekaping_producer.producer.timing import TIMING
from peekaping_producer.schedule.keys import KEYS
from tests.chaos.clocks import SettableClock
from tests.chaos.faults.fault import Fault, MissedError
from tests.chaos.faults.steps import proxy
from tests.chaos.history import Measured
from tests.chaos.world import ChaosWorld
from tests.kit.databases import new_id
from tests.kit.waiting import until

FAKE_IDENTITY = Path(__file__).parent.parent / "fake_identity"
WRONG_CLOCK_S = 300.0
FOREIGN_MEMBERS = 200
MEMORY_OF_A_STORM_MB = 100.0


async def key_lost_and_won_again(world: ChaosWorld) -> None:
    """Between reading rows and placing them the leader loses its key, and a new term begins: the old one's write must
    be refused.
    """
    leader = await world.leader()
    point = proxy(leader).break_at("place", "asked")
    (some,) = world.chance.sample(sorted(world.editor.running()), 1)
    await world.editor.publish("monitor.updated", {"id": some})
    step = await point.hit(world.timing.sync_s + 10)
    async with world.connect() as redis:
        await redis.delete(KEYS.leader)
        old = step.args[0]

        async def another_term() -> bool:
            return await redis.get(KEYS.leader) not in (None, old)

        await until(another_term, "a new term begins", within_s=30)
    point.release()
    await until(lambda: bool(step.answer), "the old term's write is answered", within_s=10)
    if step.reply[0] != b"stale":
        raise MissedError(f"the write of a term that was over was not refused: {step.reply!r:.80}")


async def event_storm(world: ChaosWorld) -> None:
    """Half of the events are about known monitors, the others malformed, unknown or of no meaning; and members that are
    no ids stand in the sets.
    """
    leader = await world.leader()
    before_mb = _rss_mb(leader.pid)
    known = sorted(world.editor.running())
    types = ("monitor.created", "monitor.updated", "monitor.deleted", "proxy.updated", "no.such.type")
    async with world.connect() as redis:
        await redis.zadd(KEYS.due, {f"no-id-{n}": 1 for n in range(FOREIGN_MEMBERS)} | {b"\xff\xfe": 1})
        for start in range(0, world.timing.events, 1000):
            async with redis.pipeline(transaction=False) as pipe:
                for number in range(start, start + 1000):
                    type_ = types[number % len(types)]
                    known_id = world.chance.choice(known)
                    about: object = {"id": known_id} if number % 2 else (None, "", {"id": new_id()}, 7)[number % 4]
                    # After a deletion event the row is read again, and stays.
                    event = json.dumps({"type": type_, "payload": known_id if type_ == "monitor.deleted" else about})
                    pipe.publish(CHANNEL_PREFIX + type_, event[: number % 50] if number % 7 == 0 else event)
                await pipe.execute()
    await asyncio.sleep(world.timing.spell_s)
    grown_mb = _rss_mb(leader.pid) - before_mb
    world.recorder.write(
        Measured(
            invariant="I10", what="memory that a storm of events took, MB", value=grown_mb, limit=MEMORY_OF_A_STORM_MB
        )
    )


def _rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


async def wrong_clocks(world: ChaosWorld) -> None:
    """One replica's wall clock is five minutes ahead, another's as far behind."""
    settings = []
    for number, offset_s in enumerate((WRONG_CLOCK_S, -WRONG_CLOCK_S)):
        clock = SettableClock(world.folder, f"replica-{number}")
        clock.set(offset_s)
        settings.append({name: clock.environment[name] for name in clock.environment if "FAKETIME" in name})
        settings[-1]["LD_PRELOAD"] = clock.environment["LD_PRELOAD"]
    await _restarted_with(world, settings)


async def same_name(world: ChaosWorld) -> None:
    """Two replicas with one host name and one process id, as in two containers."""
    await _restarted_with(world, [{"PYTHONPATH": str(FAKE_IDENTITY), "FAKE_PID": "1"}] * 2)


async def _restarted_with(world: ChaosWorld, settings: list[dict[str, str]]) -> None:
    some = world.members[: len(settings)]
    for member, changed in zip(some, settings, strict=True):
        await member.stop()
        await member.start(**changed)
    await asyncio.sleep(world.timing.spell_s)
    for member in some:
        await member.stop()
        await member.start()


async def rolling_restart(world: ChaosWorld) -> None:
    """One after the other, under load."""
    for member in world.members:
        await member.stop()
        await member.start()


async def switch_turned(world: ChaosWorld) -> None:
    """A rolling restart that turns on that ticks are spread, or off again; the faults that follow find it so."""
    on = not world.consumer.spread
    for member in world.members:
        member.environment["SPREAD_TICKS"] = str(on).lower()
    await rolling_restart(world)

    async def is_turned() -> bool:
        async with world.connect() as redis:
            return bool(await redis.exists(KEYS.spread)) is on

    await until(is_turned, "the leader turns the switch", within_s=30)
    world.consumer.spread = on
    await asyncio.sleep(max(world.timing.intervals))


async def leader_killed(world: ChaosWorld) -> None:
    """SIGKILL of the leader."""
    leader = await world.leader()
    leader.kill()
    await asyncio.sleep(world.timing.brief_s)
    await leader.start()


async def leader_frozen(world: ChaosWorld) -> None:
    """SIGSTOP of the leader, for longer than its term."""
    leader = await world.leader()
    leader.freeze()
    await asyncio.sleep(TIMING.leader_ttl_s + 2)
    leader.thaw()


_LEADER = "leader loses and regains its key"
_ALIKE = "producer clock ±300 s, same hostname and PID"
FAULTS = (
    Fault("leader key lost between read and write", _LEADER, key_lost_and_won_again, short=True),
    Fault("leader killed", _LEADER, leader_killed, short=True),
    Fault("leader frozen", _LEADER, leader_frozen),
    Fault("event storm, malformed events, foreign members", "event storm", event_storm, heals_within_s=30, short=True),
    Fault("clocks of two replicas wrong by 300 s", _ALIKE, wrong_clocks, sets_clocks=True),
    Fault("two replicas with one hostname and PID", _ALIKE, same_name),
    Fault("rolling restart", "rolling restart", rolling_restart, short=True),
    Fault("ticks are spread, or no longer", "rolling restart", switch_turned, short=True),
)
