"""What does not belong into the keys: members that are no monitors, and values that only a wrong clock can write."""

from peekaping_producer.schedule import MAX_ID_LENGTH
from peekaping_producer.schedule.keys import KEYS
from tests.invariants.world import WalkWorld
from tests.kit import asynq_peer
from tests.kit.asynq_peer import task_id, task_key

IDS = ("m" * (MAX_ID_LENGTH + 1), "no-id", "", "\udcff\udcfe", "{}")
"""The first is like an id of this database but for its length."""


def put(world: WalkWorld, where: str, stranger: str) -> None:
    """A foreign member; in `late` it may also be a monitor's, left behind by a peer that does not use that key."""
    member = stranger.encode(errors="surrogateescape")
    keys = world.ledger.keys
    if where == "pending":
        world.redis.lpush(asynq_peer.PENDING, member)
    elif where == "late":
        world.redis.zadd(KEYS.late, {member: world.now_ms - 2000}, nx=True)
    elif stranger not in keys.members and where == "due":
        # One too long for an id may lie where no claim meets it.
        world.redis.zadd(KEYS.due, {member: world.now_ms + (3_600_000 if len(member) > 64 else 0)})
    elif stranger not in keys.members:
        world.redis.zadd(KEYS.lease, {member: world.now_ms + 10_000.25})
    world.look()


def put_another_type(world: WalkWorld, monitor_id: str) -> None:
    """In the place of its task."""
    world.redis.set(task_key(monitor_id), "no task")
    world.look()


def write_far_ahead(world: WalkWorld, monitor_id: str, where: str, ahead_ms: float) -> None:
    """A due time, a lease, or asynq's lease of its task."""
    keys, then_ms = world.ledger.keys, world.now_ms + ahead_ms
    if where == "due" and monitor_id in keys.due:
        world.redis.zadd(KEYS.due, {monitor_id: then_ms})
    elif where == "lease" and monitor_id in keys.members:
        world.redis.zrem(KEYS.due, monitor_id)
        world.redis.zadd(KEYS.lease, {monitor_id: then_ms})
    elif where == "asynq lease":
        world.redis.zadd(asynq_peer.LEASE, {task_id(monitor_id): then_ms / 1000}, xx=True)
    world.look()
