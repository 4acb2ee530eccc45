"""An act on monitors that a person names: by id, by the beginning of an id, or by parts of the name."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec

from peekaping_producer.errors import StoreError, StoreRefusedError, StoreUnavailableError, UnreachableError
from peekaping_producer.operations.acts.acts import Acts, Sessions
from peekaping_producer.operations.acts.model import ActOutcome, ActResult
from peekaping_producer.operations.answering import LIMITS, answering
from peekaping_producer.operations.naming import MAX_FOUND, Candidate, candidates_of, find_scheduled, the_one
from peekaping_producer.operations.opened import opened_redis
from peekaping_producer.schedule import Schedule
from peekaping_producer.stores import FoundMonitor, MonitorStore, Session, store_for
from peekaping_producer.targets import DatabaseTarget, RedisTarget


class Named(msgspec.Struct, frozen=True):
    """What a person called a monitor, and what it is."""

    text: str
    monitor_id: str = ""
    """Empty: the text names no single monitor."""
    name: str = ""
    candidates: tuple[Candidate, ...] = ()
    """The monitors that match, if there are several; at most MAX_FOUND."""


class NamedResult(msgspec.Struct, frozen=True):
    """What one act on named monitors did."""

    named: tuple[Named, ...]
    """As the person named them."""
    result: ActResult
    """Of those that are a single monitor."""
    database_error: StoreError | None = None
    """Why the database could not be read: then only ids of the schedule, and whole ids, name monitors."""

    def outcome(self, named: Named) -> ActOutcome | None:
        """Return the outcome for one of `named`; None if it is no single monitor."""
        found = (outcome for outcome in self.result.outcomes if outcome.monitor_id == named.monitor_id)
        return next(found, None)

    @property
    def exit_code(self) -> int:
        """2 if several monitors match a text, 1 if something was not done (3 if the database is away), otherwise 0."""
        if any(named.candidates for named in self.named):
            return 2
        is_done = self.result.done and all(named.monitor_id for named in self.named)
        return 0 if is_done else 3 if isinstance(self.database_error, UnreachableError) else 1


async def act_on_named(
    texts: Sequence[str],
    act: Callable[[Acts, list[str]], Awaitable[ActResult]],
    redis_target: RedisTarget,
    database_target: DatabaseTarget,
    *,
    lease_ttl_s: float,
    with_queue: bool,
) -> NamedResult:
    """Find the monitors and call `act` with their ids; a text that names none stops no other.

    If the database does not answer, they are found by their ids in the schedule. Raises ActError, UnreachableError,
    StoreError or RedisUnusableError.
    """
    store = store_for(database_target, connections=1, limits=LIMITS)
    texts = tuple(dict.fromkeys(texts))
    try:
        named, failure = await _find(store, texts)
        if not (failure or _ids(named)):
            return NamedResult(named, ActResult(0, ()))
        usable = _Failed(failure) if failure else store
        async with acting(redis_target, usable, lease_ttl_s=lease_ttl_s, with_queue=with_queue) as acts:
            if failure:
                named = tuple([await _scheduled(acts.schedule, store, text) for text in texts])
            result = await act(acts, ids) if (ids := _ids(named)) else ActResult(0, ())
            return NamedResult(named, result, failure)
    except StoreError as error:
        kind = StoreUnavailableError if isinstance(error, UnreachableError) else StoreRefusedError
        reason = "Nothing was done, since the database does not answer and intervals are read from it"
        raise kind(f"{reason}: {error}") from None
    finally:
        await store.close()


class _Failed:
    """In place of a store that has failed: a person waits for it once."""

    def __init__(self, failure: StoreError) -> None:
        self._failure = failure

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Raise the failure."""
        raise self._failure
        yield  # pragma: no cover - makes it a generator


def _ids(named: Sequence[Named]) -> list[str]:
    return [one.monitor_id for one in named if one.monitor_id]


@asynccontextmanager
async def acting(target: RedisTarget, store: Sessions, *, lease_ttl_s: float, with_queue: bool) -> AsyncIterator[Acts]:
    """Enclose acts of a command. Raises UnreachableError, or RedisUnusableError."""
    async with opened_redis(target, connections=1) as redis:
        yield Acts(redis, store, lease_ttl_s=lease_ttl_s, with_queue=with_queue)


async def _find(store: MonitorStore, texts: Sequence[str]) -> tuple[tuple[Named, ...], StoreError | None]:
    """Return what the texts name, or why the database cannot be read."""
    try:
        async with answering():
            await store.open()
            async with store.session() as session:
                return tuple([_named(text, await session.find(text, MAX_FOUND)) for text in texts]), None
    except StoreError as error:
        return (), error


def _named(text: str, found: list[FoundMonitor]) -> Named:
    if one := the_one(text, found):
        return Named(text, one.plan.id, one.name)
    return Named(text, candidates=candidates_of(found))


async def _scheduled(schedule: Schedule, store: MonitorStore, text: str) -> Named:
    """What a text names, without the database. Raises RedisError."""
    found = await find_scheduled(schedule, text)
    if len(found) == 1:
        return Named(text, found[0].id)
    return Named(text, candidates=found) if found else Named(text, text if store.is_id(text) else "")
