"""What every database of monitors offers: a store, its sessions, and the result of a load."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

import msgspec

from peekaping_producer.monitors.monitor import MonitorDetails, Plan, RecentHeartbeat
from peekaping_producer.stores.catalogue import Catalogue, WindowsRead

MIN_PREFIX = 4
"""Characters of an id by which it is found. With fewer, most prefixes would match many monitors."""


class Loaded(msgspec.Struct, frozen=True):
    """The result of one load. An id in none of the first three has no row."""

    monitors: dict[str, MonitorDetails]
    """By monitor id, inactive monitors included: a worker drops a monitor only when its row shows that it should."""
    broken: dict[str, str]
    """Rows that cannot be read, by monitor id, with the reason, which contains no secret of the row."""
    waiting: dict[str, str] = {}
    """Rows to be read again, since a table that their task needs could not be read; by monitor id, with the reason."""
    degraded: dict[str, str] = {}
    """Tables whose last known content was used, by name, with the reason."""


class FoundMonitor(msgspec.Struct, frozen=True):
    """A row that a search found."""

    plan: Plan
    name: str
    """At most 300 characters of it; any text, and empty if the column contains none."""


class Session(Protocol):
    """One connection, for one user at a time.

    - A session may be used for several reads one after another, never for two at once.
    - Every method raises StoreUnavailableError if the connection breaks or the server does not answer in time; leave
      the session then: its connection is not used again.
    - Every method raises StoreRefusedError if a table or column was removed after open().
    """

    async def load(self, ids: list[str]) -> Loaded:
        """Read the rows for the tasks of up to 1,000 monitors, with one statement for each table that is needed.

        Two for monitors without windows, proxies and heartbeats, five at most. A monitor that is unreadable, too large
        or needs a table that cannot be read is listed with the reason. Invalid ids are not found.
        """
        ...

    async def plans(self, ids: list[str]) -> dict[str, Plan]:
        """The plans of up to 1,000 monitors: interval as stored, 0 for an inactive one; absent rows are left out.

        An active row that cannot be scheduled has interval 0 and a problem.
        """
        ...

    async def page_of_plans(self, after: str | None, limit: int) -> list[Plan]:
        """The next `limit` active rows in the order of their ids, after id `after`, the end of the last page.

        A row that cannot be scheduled is among them, with interval 0 and a problem. If the id column may contain
        any value, an invalid id is replaced by a name that begins with a question mark, as no id does.

        Keyset paging: a row that exists during the whole walk is returned exactly once, whatever happens to other rows.
        Fewer than `limit` rows end the walk.
        """
        ...

    async def find(self, text: str, limit: int) -> list[FoundMonitor]:
        """Up to `limit` rows whose ids begin with `text`, if it has four or more characters; otherwise by name.

        By name: rows whose names contain each word of `text`, in any order and in upper or lower case; those with
        exactly this name first. Spaces separate words; the fifth one contains the rest. That may read every row of
        `monitors`, for up to `find_s`. Inactive rows are found, too.
        """
        ...

    async def recent_heartbeats(self, monitor_id: str, limit: int) -> list[RecentHeartbeat]:
        """The latest `limit` heartbeats of a monitor, the latest first. Rows that cannot be used are left out."""
        ...

    async def latest_heartbeats(self, ids: list[str]) -> dict[str, RecentHeartbeat]:
        """The latest heartbeat of each of up to 1,000 monitors; those without a usable one are left out."""
        ...

    async def windows(self, limit: int) -> WindowsRead:
        """Up to `limit` (at most 1,000) active maintenance windows, whichever monitors they are of."""
        ...

    async def catalogue(self) -> Catalogue:
        """What the server reports about itself, the indexes of the tables and the rights of the user."""
        ...

    async def ping(self) -> None:
        """Read one monitor as load() does, without large texts: a lock or a missing permission fails both.

        It also keeps an idle connection alive in NATs and load balancers.
        """
        ...


@runtime_checkable
class MonitorStore(Protocol):
    """A database with Peekaping's tables, read only.

    - `open()` raises StoreUnavailableError if a later attempt may succeed, StoreRefusedError if it will not (wrong
      password, unknown database, a missing table: the message names the command `migrate`).
    - `session()` waits for a free connection of a bounded pool; entering it raises StoreUnavailableError after
      `acquire_s`. The next `session()` replaces a broken connection: a store is never opened again for that.
    - `close()` may be called at any time, also twice.
    """

    async def open(self) -> dict[str, str]:
        """Connect and check that the tables exist; return the side tables that did not answer, with the reason."""
        ...

    def session(self) -> AbstractAsyncContextManager[Session]:
        """A connection for the length of the `async with`."""
        ...

    def is_id(self, text: str) -> bool:
        """Whether `text` can be a monitor id of this database, in the form that the database prints.

        Postgres: a lower-case UUID. MongoDB: an ObjectId. MySQL: 1 to 64 printable ASCII characters. SQLite: 1 to 64
        characters other than NUL.
        """
        ...

    async def ping(self) -> None:
        """Read one monitor, see Session.ping. Raises StoreError."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
