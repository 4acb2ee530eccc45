"""A task that this process runs, and the set of all of them."""

import random
import time
from collections.abc import Callable, Iterator

from peekaping_producer.transports.asynq.task_message import DEFAULT_TIMEOUT_S, TaskMessage
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.receiver import Delivery

LEASE_S = 29.0
"""How long a lease is valid from the call that wrote it: asynq's 30 s, less what is cut off by whole seconds."""
_TOKENS = 1 << 20

Monotonic = Callable[[], float]


class AsynqDelivery(Delivery, kw_only=True, eq=False):
    """A delivery of an asynq queue. `message` has the task's id and payload."""

    task: TaskMessage
    queue: str
    token: float
    """The fraction of the lease's score; see scripts/prelude.lua."""
    leased_until: float
    """By time.monotonic."""
    started_at: float
    """Unix time in s, by the clock of Redis."""
    started: float
    """The same moment by time.monotonic."""
    is_settling: bool = False
    """Its end is being written: the lease is no longer extended."""

    def now_s(self, monotonic: float) -> int:
        """The Unix time in s by the clock of Redis."""
        return int(self.started_at + monotonic - self.started)


def new_token() -> float:
    """A fraction that names a holder: k / 2^20, not 0."""
    return random.randrange(1, _TOKENS) / _TOKENS  # noqa: S311 - it only has to differ from that of the holder before


def seconds_left(task: TaskMessage, now_s: float) -> float:
    """The time of one attempt that begins now: the timeout or the time until the deadline, whichever is less."""
    limits = [float(task.timeout)] if task.timeout else []
    if task.deadline:
        limits.append(task.deadline - now_s)
    return min(limits, default=float(DEFAULT_TIMEOUT_S))


def delivery_of(
    task_id: str, task: TaskMessage, queue: str, *, token: float, started_at: float, started: float
) -> AsynqDelivery:
    """A delivery whose run begins now."""
    return AsynqDelivery(
        message=Message(task_id, task.payload),
        attempt=task.retried + 1,
        max_attempts=task.retry + 1,
        timeout_s=seconds_left(task, started_at),
        keeps_result=task.retention > 0,
        task=task,
        queue=queue,
        token=token,
        leased_until=started + LEASE_S,
        started_at=started_at,
        started=started,
    )


class Held:
    """The deliveries of this process, by queue and id."""

    def __init__(self, monotonic: Monotonic = time.monotonic) -> None:
        self.monotonic = monotonic
        self._deliveries: dict[tuple[str, str], AsynqDelivery] = {}

    def __len__(self) -> int:
        return len(self._deliveries)

    def __iter__(self) -> Iterator[AsynqDelivery]:
        return iter(list(self._deliveries.values()))

    def add(self, delivery: AsynqDelivery) -> None:
        """Its run begins."""
        self._deliveries[delivery.queue, delivery.message.id] = delivery

    def remove(self, delivery: AsynqDelivery) -> None:
        """Its run has ended. A later run of the same task remains."""
        key = delivery.queue, delivery.message.id
        if self._deliveries.get(key) is delivery:
            del self._deliveries[key]

    def lose(self, delivery: AsynqDelivery) -> None:
        """It is no longer held: cancel its handler."""
        self.remove(delivery)
        if delivery.cancel:
            delivery.cancel()

    def is_valid(self, delivery: AsynqDelivery) -> bool:
        """Whether it is held and its lease has not ended."""
        held = self._deliveries.get((delivery.queue, delivery.message.id)) is delivery
        return held and delivery.leased_until > self.monotonic()
