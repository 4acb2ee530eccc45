"""Names of monitors, from the database: at most one read a second, and a bounded number of names."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

import msgspec

from peekaping_producer.errors import StoreError
from peekaping_producer.operations.answering import answering
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.stores.on_demand import OnDemandStore
from peekaping_producer.ui.bounds import short
from peekaping_producer.ui.frame import Failure

MAX_NAME_LENGTH = 150
_KEPT = 1000
_PER_READ = 20
_READ_EVERY_S = 1.0
_FRESH_FOR_S = 60.0
_MAX_REASON_LENGTH = 300


class Named(msgspec.Struct, frozen=True):
    """A monitor, as the database describes it."""

    name: str | None
    """None if the database contains no such monitor."""
    interval_s: int | None = None


class Names:
    """A name that is not known is read later: no frame waits for the database."""

    def __init__(
        self, store: OnDemandStore, now_ms: Callable[[], int], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`now_ms` returns Redis TIME."""
        self.failure: Failure | None = None
        """Why the latest read failed."""
        self._store = store
        self._now_ms = now_ms
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, Named]] = OrderedDict()
        self._read_at = -_READ_EVERY_S
        self._reading: asyncio.Task[None] | None = None

    def of(self, ids: Iterable[str]) -> Mapping[str, Named]:
        """Return what is known of these monitors, and begin to read what is not known or old."""
        wanted = list(dict.fromkeys(ids))
        found = {}
        for id_ in wanted:
            if id_ in self._known:
                self._known.move_to_end(id_)
                found[id_] = self._known[id_][1]
        self._read_soon([id_ for id_ in wanted if self._is_old(id_)])
        if len(found) == len(wanted):
            self.failure = None
        return found

    async def stop(self) -> None:
        """End a read that is under way."""
        if self._reading:
            await cancel_and_wait(self._reading)

    def _is_old(self, id_: str) -> bool:
        return id_ not in self._known or self._clock() - self._known[id_][0] > _FRESH_FOR_S

    def _read_soon(self, ids: list[str]) -> None:
        is_reading = self._reading is not None and not self._reading.done()
        if ids and not is_reading and self._clock() - self._read_at >= _READ_EVERY_S:
            self._read_at = self._clock()
            self._reading = asyncio.create_task(self._read(ids[:_PER_READ]), name="page-names")

    async def _read(self, ids: list[str]) -> None:
        try:
            async with answering(), self._store.session() as session:
                loaded = await session.load([id_ for id_ in ids if self._store.is_id(id_)])
        except StoreError as error:
            since_ms = self.failure.since_ms if self.failure else self._now_ms()
            self.failure = Failure(since_ms, short(str(error), _MAX_REASON_LENGTH))
            return
        self.failure = None
        for id_ in ids:
            details = loaded.monitors.get(id_)
            named = Named(None)
            if details:
                named = Named(short(details.monitor.name, MAX_NAME_LENGTH), details.monitor.interval)
            self._known[id_] = (self._clock(), named)
            self._known.move_to_end(id_)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
