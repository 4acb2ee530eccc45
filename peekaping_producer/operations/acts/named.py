"""An act on monitors that a person names: by id, by the beginning of an id, or by a part of the name."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec

from peekaping_producer.errors import StoreError, StoreRefusedError, StoreUnavailableError, UnreachableError
from peekaping_producer.operations.acts.acts import Acts
from peekaping_producer.operations.acts.model import ActOutcome, ActResult
from peekaping_producer.operations.naming import MAX_FOUND, the_one
from peekaping_producer.operations.opened import opened_redis
from peekaping_producer.stores import FoundMonitor, MonitorStore, store_for
from peekaping_producer.targets import DatabaseTarget, RedisTarget


class Named(msgspec.Struct, frozen=True):
    """What a person called a monitor, and what it is."""

    text: str
    monitor_id: str = ""
    """Empty: the text names no single monitor."""
    name: str = ""
    candidates: tuple[FoundMonitor, ...] = ()
    """The monitors that match, if there are several; at most MAX_FOUND."""


class NamedResult(msgspec.Struct, frozen=True):
    """What one act on named monitors did."""

    named: tuple[Named, ...]
    """As the person named them."""
    result: ActResult
    """Of those that are a single monitor."""
    is_database_away: bool = False
    """The database did not answer, so that only whole ids name monitors."""

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
        return 0 if is_done else 3 if self.is_database_away else 1


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

    Whole ids are accepted also if the database does not answer. Raises ActError, UnreachableError, StoreError or
    RedisUnusableError.
    """
    store = store_for(database_target, connections=1)
    try:
        named, is_away = await _find(store, texts)
        ids = [one.monitor_id for one in named if one.monitor_id]
        if not ids:
            return NamedResult(named, ActResult(0, ()))
        async with acting(redis_target, store, lease_ttl_s=lease_ttl_s, with_queue=with_queue) as acts:
            return NamedResult(named, await act(acts, ids), is_away)
    except StoreError as error:
        raise _nothing_done(store, texts, error) from None
    finally:
        await store.close()


@asynccontextmanager
async def acting(
    target: RedisTarget, store: MonitorStore, *, lease_ttl_s: float, with_queue: bool
) -> AsyncIterator[Acts]:
    """Enclose acts of a command. Raises UnreachableError, or RedisUnusableError."""
    async with opened_redis(target, connections=1) as redis:
        yield Acts(redis, store, lease_ttl_s=lease_ttl_s, with_queue=with_queue)


def _nothing_done(store: MonitorStore, texts: Sequence[str], error: StoreError) -> StoreError:
    """Return the error of an act that could not begin; its kind sets the exit code."""
    kind = StoreUnavailableError if isinstance(error, UnreachableError) else StoreRefusedError
    text = next((text for text in texts if not store.is_id(text)), None)
    if text is None:
        return kind(f"Nothing was done, since the database does not answer and intervals are read from it: {error}")
    whole = f"MONITOR: expected a whole id, since the database does not answer, got {text!r:.100}"
    return kind(f"{whole}; nothing was done: {error}")


async def _find(store: MonitorStore, texts: Sequence[str]) -> tuple[tuple[Named, ...], bool]:
    """Return what the texts name, and whether the database does not answer."""
    try:
        await store.open()
        async with store.session() as session:
            return tuple([_named(text, await session.find(text, MAX_FOUND)) for text in dict.fromkeys(texts)]), False
    except StoreError as error:
        if not all(map(store.is_id, texts)):
            raise
        return tuple(Named(text, text) for text in dict.fromkeys(texts)), isinstance(error, UnreachableError)


def _named(text: str, found: list[FoundMonitor]) -> Named:
    if one := the_one(text, found):
        return Named(text, one.plan.id, one.name)
    return Named(text, candidates=tuple(found))
