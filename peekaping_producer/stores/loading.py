"""How a batch is read, whatever the database: one table at a time, so that each monitor waits for what it needs only.

`monitors` is read first, and without it there is no load. The other tables are side tables: each has a short limit of
its own, and is asked for those monitors alone whose tasks need it. Where one does not answer,

- maintenance windows are the last known ones of the monitor, or none: a check too many is better than silence;
- a proxy is the last known one; without any its monitor waits, since the check would report a false outage;
- push monitors wait: their task cannot be built without the latest heartbeat.

A side table that did not answer is left alone for some seconds. If it answers for some rows, only the others wait.
Rows are read with their sizes: large ones are left out at first and then read one at a time.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from peekaping_producer.errors import StoreError, StoreUnavailableError
from peekaping_producer.monitors.monitor import Monitor, MonitorDetails, Plan
from peekaping_producer.stores import Loaded, connections
from peekaping_producer.stores.pool import AnsweredError
from peekaping_producer.stores.rows import CHECKED, Row, UnreadableError, plan_of

MONITORS, PLANS = "monitors", "plans"
LINKS, WINDOWS, PROXIES, HEARTBEATS = "monitor_maintenances", "maintenances", "proxies", "heartbeats"
TABLES = (MONITORS, PLANS, LINKS, WINDOWS, PROXIES, HEARTBEATS)
"""What a Source is asked for; plans are a few columns of `monitors`."""

ROWS_WITHIN_S = 5.0
"""For `monitors`: less than a load may take, so that something is left for the side tables."""
SIDE_WITHIN_S = 2.0
"""For a side table."""
PART_WITHIN_S = 0.5
"""For a part of what a side table did not answer within that."""
ASK_AGAIN_AFTER_S = 5.0
"""How long a side table that did not answer is left alone, and so are single rows of one."""
BATCH_BYTES = 16 * 2**20
"""What the rows of a batch may share evenly; larger rows are read one at a time."""
LARGEST_SHARE = 256 * 2**10
ALONE_BYTES = 64 * 2**20
"""What one load may read one row at a time. A larger row is not read at all."""
KNOWN_BYTES = 32 * 2**20
"""What is remembered of each side table, by estimate."""

_MOST_FAILURES = 20
"""Single rows that fail one after another, and none is read: then the fault is not theirs."""
_LATE_PARTS_OF_A_TABLE = 4
"""Parts of a batch that are late one after another, and none is answered: then it is the whole table."""
_MOST_LATE_PARTS = 12
_MOST_LATE_ROWS = 1000
_ENTRY_BYTES = 350

T = TypeVar("T")


class LateError(StoreUnavailableError):
    """A statement was not answered within its limit."""


class CanceledError(LateError, AnsweredError):
    """A statement was canceled at its limit."""


class NoTimeLeftError(LateError):
    """The time for the whole load is over: that is no fault of the table that is next."""


class BadRowsError(AnsweredError, StoreUnavailableError):
    """The database answers, and cannot give out something among the rows that a statement asked for."""


class Source(Protocol):
    """One connection, as far as load() uses it."""

    async def fetch(self, table: str, keys: Sequence[str], most: int, within_s: float) -> list[Row]:
        """The rows of some keys (up to 1,000), each as (key, size, *columns); keys without rows are left out.

        - `size` is that of the row's texts in bytes; where it is more than `most` the columns are not filled in.
        - monitors, by id: the fields of Monitor, then the proxy's id as stored
        - plans, by monitor id: active, interval
        - monitor_maintenances, by monitor id: the window's id
        - maintenances, by id, only active ones, the latest changed first: the fields of MaintenanceWindow
        - proxies, by id: the fields of Proxy
        - heartbeats, by monitor id, the latest one: the fields of Heartbeat

        Raises LateError after `within_s` seconds (CanceledError where that keeps the connection), BadRowsError,
        StoreUnavailableError where the connection broke, and StoreError where the table cannot be read at all.
        """
        ...


class Found:
    """What a read of some keys found: rows, and the keys for which there are none, with the reason."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.broken: dict[str, str] = {}
        self.late: dict[str, str] = {}

    def add(self, other: "Found") -> None:
        """Take over what another part of the keys gave."""
        self.rows += other.rows
        self.broken |= other.broken
        self.late |= other.late


class Batch:
    """The reads of one load, and what is left to it: time, and bytes for rows that are read alone."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._ends_at = time.monotonic() + connections.COMMAND_TIMEOUT
        self._bytes_left = ALONE_BYTES

    async def read(self, table: str, keys: Sequence[str], within_s: float) -> Found:
        """Read `table`. Raises as Source.fetch does, but only where no key at all was answered."""
        found = Found()
        most = min(LARGEST_SHARE, BATCH_BYTES // max(len(keys), 1))
        rows = await self._around_bad_rows(table, keys, most, within_s, found)
        found.rows = [row for row in rows if row[1] <= most]
        if len(found.rows) < len(rows):
            for row in sorted((row for row in rows if row[1] > most), key=lambda row: row[1]):
                await self._alone(table, row[0], row[1], within_s, found)
        return found

    async def _around_bad_rows(
        self, table: str, keys: Sequence[str], most: int, within_s: float, found: Found
    ) -> list[Row]:
        """Halve what fails until the bad rows are alone; only they are left out."""
        parts, rows, works = [keys], [], False
        while parts:
            part = parts.pop()
            try:
                rows += await self._fetch(table, part, most, within_s)
                works = True
            except BadRowsError as error:
                if len(part) > 1:
                    parts += _halves(part)
                    continue
                found.broken[part[0]] = str(error)
                if not works and len(found.broken) >= _MOST_FAILURES and parts:
                    raise
            except LateError as error:
                if not works:
                    raise
                found.late |= dict.fromkeys((key for some in (part, *parts) for key in some), str(error))
                break
        return rows

    async def _alone(self, table: str, key: str, size: int, within_s: float, found: Found) -> None:
        if size <= ALONE_BYTES and size <= self._bytes_left:
            try:
                rows = await self._around_bad_rows(table, [key], self._bytes_left, within_s, found)
            except LateError as error:
                found.late[key] = f"{table}: a large row: {error}"
                return
            size = max((row[1] for row in rows), default=0)  # not known before where it is stored compressed
            if size <= self._bytes_left:
                self._bytes_left -= size
                found.rows += rows
                return
        if size > ALONE_BYTES:
            found.broken[key] = f"{table}: expected at most {ALONE_BYTES} bytes in a row, got more"
        else:
            found.late[key] = f"{table}: a large row that is read when other large ones leave room"

    async def _fetch(self, table: str, keys: Sequence[str], most: int, within_s: float) -> list[Row]:
        left_s = self._ends_at - time.monotonic()
        try:
            if left_s > 0.01:
                return await self._source.fetch(table, keys, most, min(within_s, left_s))
        except LateError as error:
            if left_s >= within_s:
                raise
            raise NoTimeLeftError(str(error)) from None
        raise NoTimeLeftError("no answer in time: the time for the batch is over")


class Answer:
    """What is known of some keys of a side table after it was asked."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Sequence[Any]]] = {}
        """The columns of a key's rows."""
        self.broken: dict[str, str] = {}
        self.missing: dict[str, str] = {}
        """Keys that were not read and of which nothing is known, with the reason."""
        self.stale = ""
        """Why last known rows are among `rows`."""


class SideTable:
    """One side table of a store: whether it answers, and the last known content of it."""

    def __init__(self, name: str, clock: Callable[[], float], known_bytes: int) -> None:
        self.name = name
        self._clock = clock
        self._known = _LastKnown(known_bytes)
        self._reason = ""
        self._rests_until = -1.0
        self._lost_connection = False
        self._late_rows: dict[str, str] = {}
        """Rows that were not answered although others were, with the reason; asked for separately from the others."""
        self._late_rows_rest_until = -1.0
        self._late_alone: str | None = None

    async def ask(self, batch: Batch, keys: Iterable[str]) -> Answer:
        """Read these keys, or find out what was last known of them. Raises where the connection was lost."""
        answer, wanted = Answer(), list(dict.fromkeys(keys))
        if not wanted:
            return answer
        found = Found()
        if self._clock() < self._rests_until:
            found.late = dict.fromkeys(wanted, self._reason)
        else:
            # Where it failed before, the others do not ask until this is answered.
            self._rests_until = self._clock() + ASK_AGAIN_AFTER_S if self._reason else -1.0
            try:
                found = await self._read(batch, wanted)
                self._reason, self._rests_until, self._lost_connection = "", -1.0, False
            except NoTimeLeftError as error:
                found.late = dict.fromkeys(wanted, f"{self.name}: {error}")
            except StoreError as error:
                self._rest(error)
                found.late = dict.fromkeys(wanted, self._reason)
        self._merge(wanted, found, answer)
        return answer

    def _rest(self, error: StoreError) -> None:
        """A lost connection is the database's fault, not the table's, unless it happens again."""
        self._rests_until = -1.0
        is_lost = isinstance(error, StoreUnavailableError) and not isinstance(error, LateError | AnsweredError)
        if is_lost and not self._lost_connection:
            self._lost_connection = True
            raise error
        self._reason = f"{self.name}: {error}"
        self._rests_until = self._clock() + ASK_AGAIN_AFTER_S

    async def _read(self, batch: Batch, keys: list[str]) -> Found:
        """Read the table, and separately the rows that were late before. Raises LateError where no row is answered."""
        now = self._clock()
        asked = [key for key in keys if key not in self._late_rows] if self._late_rows else keys
        found = Found()
        if asked:
            try:
                found = await batch.read(self.name, asked, SIDE_WITHIN_S)
                self._late_alone = None
            except LateError as error:
                found = await self._around_late_rows(batch, asked, error)
        for key, reason in [(key, reason) for key, reason in self._late_rows.items() if key in keys]:
            if key in found.late:
                continue
            if now >= self._late_rows_rest_until:
                try:
                    found.add(await batch.read(self.name, [key], PART_WITHIN_S))
                    self._late_rows.pop(key, None)
                    continue
                except LateError:
                    self._late_rows_rest_until = self._clock() + ASK_AGAIN_AFTER_S
                    self._late_rows.pop(key, None)
                    self._late_rows[key] = reason  # the others are tried before it is again
                    now = -1.0
            found.late[key] = reason
        return found

    async def _around_late_rows(self, batch: Batch, keys: Sequence[str], error: LateError) -> Found:
        """Find the rows that hold up the others. Raises LateError where all of them are late."""
        if len(keys) == 1:
            if self._late_alone not in {None, keys[0]}:
                raise error  # two different rows in a row: it is the table
            self._late_alone = keys[0]
            return self._late(keys, error)
        found, parts, answered, attempts = Found(), deque(_halves(keys)), False, 0
        while parts:
            part = parts.popleft()
            try:
                found.add(await batch.read(self.name, part, PART_WITHIN_S))
                answered = True
            except LateError as again:
                attempts += 1
                if not answered and (attempts == _LATE_PARTS_OF_A_TABLE or isinstance(again, NoTimeLeftError)):
                    raise error from None
                if len(part) > 1 and attempts < _MOST_LATE_PARTS and not isinstance(again, NoTimeLeftError):
                    parts += _halves(part)
                else:
                    found.add(self._late(part, error))
        if not answered:
            raise error
        self._late_alone = None
        return found

    def _late(self, keys: Sequence[str], error: LateError) -> Found:
        found = Found()
        found.late = dict.fromkeys(keys, f"{self.name}: {error}")
        self._late_rows |= found.late
        self._late_rows_rest_until = self._clock() + ASK_AGAIN_AFTER_S
        while len(self._late_rows) > _MOST_LATE_ROWS:
            del self._late_rows[next(iter(self._late_rows))]
        return found

    def _merge(self, keys: list[str], found: Found, answer: Answer) -> None:
        sizes: dict[str, int] = {}
        for row in found.rows:
            answer.rows.setdefault(row[0], []).append(row[2:])
            sizes[row[0]] = sizes.get(row[0], 0) + row[1]
        answer.broken = found.broken
        for key in keys:
            if key not in found.late:
                self._known.put(key, answer.rows.get(key), sizes.get(key, 0))
            elif (rows := self._known.get(key)) is None:
                answer.missing[key] = found.late[key]
            else:
                answer.rows[key] = rows
                answer.stale = found.late[key]


def _halves(keys: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    middle = len(keys) // 2
    return keys[:middle], keys[middle:]


class _LastKnown:
    """The latest rows by key, up to `most` bytes; what was put in longest ago is forgotten first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: dict[str, tuple[int, list[Sequence[Any]]]] = {}
        self._bytes = 0

    def get(self, key: str) -> list[Sequence[Any]] | None:
        known = self._rows.get(key)
        return None if known is None else known[1]

    def put(self, key: str, rows: list[Sequence[Any]] | None, size: int) -> None:
        """Remember a key's rows; None forgets what was known."""
        if key in self._rows:
            self._bytes -= self._rows.pop(key)[0]
        if rows is None:
            return
        size += _ENTRY_BYTES * len(rows)
        self._rows[key] = size, rows
        self._bytes += size
        while self._bytes > self._most:
            self._bytes -= self._rows.pop(next(iter(self._rows)))[0]


class Loader:
    """What a store's sessions share: the state of its side tables."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        # The last known heartbeat would be a wrong one.
        self._sides = {name: SideTable(name, clock, KNOWN_BYTES) for name in (LINKS, WINDOWS, PROXIES)} | {
            HEARTBEATS: SideTable(HEARTBEATS, clock, 0)
        }

    async def load(self, source: Source, ids: Sequence[str]) -> Loaded:
        """See Session.load: one statement for each table that is needed, if nothing is in its way."""
        if not ids:
            return Loaded({}, {})
        batch = Batch(source)
        found = await batch.read(MONITORS, ids, ROWS_WITHIN_S)
        loaded = Loaded({}, found.broken, found.late, {})
        needs = [need for row in found.rows if (need := _guarded(loaded, row[0], _need, row))]
        running = [need for need in needs if need.monitor.active]
        parts = _Parts()
        parts.links = await self._sides[LINKS].ask(batch, (need.monitor.id for need in running))
        windows = (str(link[0]) for links in parts.links.rows.values() for link in links)
        parts.windows = await self._sides[WINDOWS].ask(batch, windows)
        proxies = (need.proxy_id for need in running if need.proxy_id)
        parts.proxies = await self._sides[PROXIES].ask(batch, proxies)
        pushed = (need.monitor.id for need in running if need.monitor.type == "push")
        parts.heartbeats = await self._sides[HEARTBEATS].ask(batch, pushed)
        for need in needs:
            if check := _guarded(loaded, need.monitor.id, parts.check, need):
                loaded.checks[need.monitor.id] = check
        loaded.degraded.update(parts.degraded())
        return loaded

    async def plans(self, source: Source, ids: Sequence[str]) -> dict[str, Plan]:
        """See Session.plans."""
        found = await Batch(source).read(PLANS, ids, connections.COMMAND_TIMEOUT)
        unread = found.broken | found.late
        return {key: Plan(key, 0, f"unreadable: {reason}") for key, reason in unread.items()} | {
            row[0]: plan_of(row[0], row[2], row[3]) for row in found.rows
        }


class Pages(Protocol):
    """One connection, as far as page_of_plans() uses it."""

    async def page(self, after: str | None, limit: int) -> list[Plan]:
        """A page as Session.page_of_plans has it. Raises BadRowsError where a row spoils it."""
        ...

    async def next_id(self, after: str | None) -> str | None:
        """The id of the next row, whatever else it holds; None where there is none."""
        ...


async def page_of_plans(source: Pages, after: str | None, limit: int) -> list[Plan]:
    """Read a page; where a row spoils it, halve it until that row is alone, and give that as a problem."""
    try:
        return await source.page(after, limit)
    except BadRowsError as error:
        if limit == 1:
            id_ = await source.next_id(after)
            return [] if id_ is None else [Plan(id_, 0, f"unreadable: {error}")]
    half = limit // 2
    page = await page_of_plans(source, after, half)
    return page if len(page) < half else page + await page_of_plans(source, page[-1].id, limit - half)


class _WaitError(Exception):
    """The monitor's task needs what was not read."""


class _Need(NamedTuple):
    monitor: Monitor
    proxy_id: str | None


def _need(row: Row) -> _Need:
    return _Need(CHECKED.monitor(*row[2:-1]), str(row[-1]) if row[-1] else None)


def _guarded(loaded: Loaded, id_: str, make: Callable[[Any], T], of: Any) -> T | None:
    """What `make` makes for one monitor. Whatever that raises keeps this monitor from running, and no other."""
    try:
        return make(of)
    except _WaitError as error:
        loaded.waiting[id_] = str(error)
    except UnreadableError as error:
        loaded.broken[id_] = str(error)
    except Exception as error:  # its text may quote what the row holds
        loaded.broken[id_] = f"its row cannot be used ({type(error).__name__})"
    return None


class _Parts:
    """What belongs to some of a batch's monitors. Windows and proxies are shared by many: each is read once."""

    links: Answer
    windows: Answer
    proxies: Answer
    heartbeats: Answer

    def __init__(self) -> None:
        self._structs: dict[tuple[str, str], Any] = {}

    def degraded(self) -> dict[str, str]:
        """The tables whose last known rows were used, and those without which windows were left out."""
        found = {}
        for table, answer in ((LINKS, self.links), (WINDOWS, self.windows), (PROXIES, self.proxies)):
            if answer.stale or (answer.missing and table != PROXIES):
                found[table] = answer.stale or next(iter(answer.missing.values()))
        return found

    def check(self, need: _Need) -> MonitorDetails:
        """Raises UnreadableError and _WaitError."""
        monitor, proxy_id = need
        if not monitor.active:
            return MonitorDetails(monitor)
        windows = self._windows_of(monitor.id)
        proxy = beat = None
        if proxy_id and (rows := _of(self.proxies, PROXIES, proxy_id, required=True)):
            proxy = self._shared(PROXIES, proxy_id, CHECKED.proxy, rows[0])
        if monitor.type == "push" and (rows := _of(self.heartbeats, HEARTBEATS, monitor.id, required=True)):
            beat = CHECKED.heartbeat(*rows[0])
        return MonitorDetails(monitor, proxy, tuple(windows), beat, None if proxy else proxy_id)

    def _windows_of(self, monitor_id: str) -> list[Any]:
        links = _of(self.links, LINKS, monitor_id, required=False)
        if not links:
            return []
        ids = {str(link[0]) for link in links}
        for id_ in ids & self.windows.broken.keys():
            raise UnreadableError(self.windows.broken[id_])
        ordered = ids if len(ids) == 1 else [id_ for id_ in self.windows.rows if id_ in ids]
        return [
            self._shared(WINDOWS, id_, CHECKED.window, self.windows.rows[id_][0])
            for id_ in ordered
            if id_ in self.windows.rows
        ]

    def _shared(self, table: str, id_: str, reader: Callable[..., Any], columns: Sequence[Any]) -> Any:
        struct = self._structs.get((table, id_))
        if struct is None:
            struct = self._structs[table, id_] = reader(*columns)
        return struct


def _of(answer: Answer, table: str, key: str, *, required: bool) -> list[Sequence[Any]]:
    """A key's rows. Raises UnreadableError where they are broken, and _WaitError where required ones are not known."""
    if key in answer.broken:
        raise UnreadableError(f"{table}: {answer.broken[key]}")
    if required and key in answer.missing:
        raise _WaitError(answer.missing[key])
    return answer.rows.get(key, [])
