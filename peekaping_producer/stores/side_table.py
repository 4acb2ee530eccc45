"""One side table: whether it answers, and its last known rows."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from peekaping_producer.errors import StoreError, StoreUnavailableError
from peekaping_producer.stores.batch import Batch, Found, halves
from peekaping_producer.stores.errors import AnsweredError, LateError, NoTimeLeftError
from peekaping_producer.stores.limits import Limits

Rows = list[Sequence[Any]]
"""The columns of one key's rows."""

_LATE_PARTS_OF_A_TABLE = 4
"""Parts of a batch that are late one after another while none is answered: then it is the whole table."""
_MOST_LATE_PARTS = 12
_MOST_LATE_ROWS = 1000
ENTRY_BYTES = 350
"""The estimate for what Python needs for a row, beside its texts."""


class Answer(msgspec.Struct):
    """What is known about some keys of a side table after a read."""

    rows: dict[str, Rows] = {}
    broken: dict[str, str] = {}
    missing: dict[str, str] = {}
    """Keys that were not read and about which nothing is known, with the reason."""
    stale: str = ""
    """Why last known rows are among `rows`."""


class SideTable:
    """Reads a side table of a store, and leaves it alone for a while where it does not answer."""

    def __init__(self, name: str, limits: Limits, clock: Callable[[], float], known_bytes: int) -> None:
        self.name = name
        self._limits = limits
        self._clock = clock
        self._known = _LastKnown(known_bytes)
        self._reason = ""
        self._rests_until = -1.0
        self._lost_connection = False
        self._late_rows: dict[str, str] = {}
        """Rows that were not returned although others were, with the reason; read separately from the others."""
        self._late_rows_rest_until = -1.0
        self._late_alone: str | None = None

    async def ask(self, batch: Batch, keys: Iterable[str]) -> Answer:
        """Read these keys, or find their last known rows. Raises StoreError where the connection was lost."""
        wanted = list(dict.fromkeys(keys))
        if not wanted:
            return Answer()
        if self._clock() < self._rests_until:
            return self._merge(wanted, Found(late=dict.fromkeys(wanted, self._reason)))
        # Where it failed before, other loads do not read it until this read is answered.
        self._rests_until = self._rest_end() if self._reason else -1.0
        try:
            found = await self._read(batch, wanted)
            self._reason, self._rests_until, self._lost_connection = "", -1.0, False
        except NoTimeLeftError as error:
            found = Found(late=dict.fromkeys(wanted, f"{self.name}: {error}"))
        except StoreError as error:
            self._rest(error)
            found = Found(late=dict.fromkeys(wanted, self._reason))
        return self._merge(wanted, found)

    def _rest(self, error: StoreError) -> None:
        """Leave the table alone. The first lost connection is the database's fault, not the table's."""
        self._rests_until = -1.0
        is_lost = isinstance(error, StoreUnavailableError) and not isinstance(error, LateError | AnsweredError)
        if is_lost and not self._lost_connection:
            self._lost_connection = True
            raise error
        self._reason = f"{self.name}: {error}"
        self._rests_until = self._rest_end()

    def _rest_end(self) -> float:
        return self._clock() + self._limits.retry_after_s

    async def _read(self, batch: Batch, keys: list[str]) -> Found:
        """Read the table, and separately the rows that were late before. Raises LateError where no row is returned."""
        now = self._clock()
        asked = [key for key in keys if key not in self._late_rows] if self._late_rows else keys
        found = Found()
        if asked:
            try:
                found = await batch.read(self.name, asked, self._limits.side_table_s)
                self._late_alone = None
            except LateError as error:
                found = await self._around_late_rows(batch, asked, error)
        for key, reason in [(key, reason) for key, reason in self._late_rows.items() if key in keys]:
            if key in found.late:
                continue
            if now >= self._late_rows_rest_until:
                try:
                    found.add(await batch.read(self.name, [key], self._limits.part_s))
                    self._late_rows.pop(key, None)
                    continue
                except LateError:
                    self._late_rows_rest_until = self._rest_end()
                    self._late_rows.pop(key, None)
                    self._late_rows[key] = reason  # at the end: the others are read before it is read again
                    now = -1.0
            found.late[key] = reason
        return found

    async def _around_late_rows(self, batch: Batch, keys: Sequence[str], error: LateError) -> Found:
        """Find the rows that hold up the others. Raises LateError where all of them are late."""
        if len(keys) == 1:
            if self._late_alone not in {None, keys[0]}:
                raise error  # two different rows one after the other: it is the table
            self._late_alone = keys[0]
            return self._late(keys, error)
        found, parts, answered, attempts = Found(), deque(halves(keys)), False, 0
        while parts:
            part = parts.popleft()
            try:
                found.add(await batch.read(self.name, part, self._limits.part_s))
                answered = True
            except LateError as again:
                attempts += 1
                no_time = isinstance(again, NoTimeLeftError)
                if not answered and (attempts == _LATE_PARTS_OF_A_TABLE or no_time):
                    raise error from None
                if len(part) > 1 and attempts < _MOST_LATE_PARTS and not no_time:
                    parts += halves(part)
                else:
                    found.add(self._late(part, error))
        if not answered:
            raise error
        self._late_alone = None
        return found

    def _late(self, keys: Sequence[str], error: LateError) -> Found:
        late = dict.fromkeys(keys, f"{self.name}: {error}")
        self._late_rows |= late
        self._late_rows_rest_until = self._rest_end()
        while len(self._late_rows) > _MOST_LATE_ROWS:
            del self._late_rows[next(iter(self._late_rows))]
        return Found(late=late)

    def _merge(self, keys: list[str], found: Found) -> Answer:
        """Remember what was read, and add the last known rows of what was not."""
        answer = Answer(broken=found.broken)
        sizes: dict[str, int] = {}
        for row in found.rows:
            answer.rows.setdefault(row[0], []).append(row[2:])
            sizes[row[0]] = sizes.get(row[0], 0) + row[1]
        for key in keys:
            if key not in found.late:
                self._known.put(key, answer.rows.get(key), sizes.get(key, 0))
            elif (rows := self._known.get(key)) is None:
                answer.missing[key] = found.late[key]
            else:
                answer.rows[key] = rows
                answer.stale = found.late[key]
        return answer


class _LastKnown:
    """The latest rows by key, up to `most` bytes; the oldest entry is removed first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: dict[str, tuple[int, Rows]] = {}
        self._bytes = 0

    def get(self, key: str) -> Rows | None:
        known = self._rows.get(key)
        return None if known is None else known[1]

    def put(self, key: str, rows: Rows | None, size: int) -> None:
        """Remember a key's rows; None removes what was known."""
        if key in self._rows:
            self._bytes -= self._rows.pop(key)[0]
        if rows is None:
            return
        size += ENTRY_BYTES * len(rows)
        self._rows[key] = size, rows
        self._bytes += size
        while self._bytes > self._most:
            self._bytes -= self._rows.pop(next(iter(self._rows)))[0]
