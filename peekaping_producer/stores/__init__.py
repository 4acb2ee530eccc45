"""Where monitors come from: one protocol, one module per database.

`store_for` picks the module by the settings' database type.
"""

from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

import msgspec

from peekaping_producer.monitors.monitor import MonitorDetails, Plan
from peekaping_producer.targets import DatabaseTarget


class Loaded(msgspec.Struct, frozen=True):
    """What one load found. An id in none of the first three has no row (yet, or any more)."""

    checks: dict[str, MonitorDetails]
    """By monitor id, inactive monitors included: the worker needs the row as evidence before it drops."""
    broken: dict[str, str]
    """Rows that cannot be read, by monitor id, with the reason in words and without the row's secrets."""
    waiting: dict[str, str] = {}
    """Rows that were read while a table that their task needs did not answer, by monitor id, with the reason.

    They are to be tried again later.
    """
    degraded: dict[str, str] = {}
    """Tables whose last known content was used, by name, with the reason."""


class Session(Protocol):
    """One connection, held by one user at a time.

    - A session is safe to use for several reads one after another, never for two at once.
    - Every method raises StoreUnavailableError when the connection breaks or the server does not answer in time;
      the session must then be left, and its connection is not given to anybody again.
    - Every method raises StoreError when the tables are no longer those that open() saw.
    """

    async def load(self, ids: list[str]) -> Loaded:
        """Read all that the tasks of up to 1,000 monitors need: one statement for each table that is needed.

        Two for monitors without windows, proxies and heartbeats, five at most. What is unreadable, too large or needs
        a table that does not answer is left out and named. Ids that are no ids of this database are not found.
        """
        ...

    async def plans(self, ids: list[str]) -> dict[str, Plan]:
        """The plans of up to 1,000 monitors: interval as stored, 0 for an inactive one; absent rows are left out.

        An active row that cannot be scheduled has interval 0 and a problem.
        """
        ...

    async def page_of_plans(self, after: str | None, limit: int) -> list[Plan]:
        """The next `limit` active rows in the order of their ids, after id `after`, the end of the last page.

        A row that cannot be scheduled is among them, with interval 0 and a problem. If what is wrong is its id, the
        plan's id is a name that begins with a question mark where the database could hold anything; no id does.

        Keyset paging: a row that exists during the whole walk is seen exactly once, whatever changes around it.
        Fewer than `limit` rows end the walk.
        """
        ...

    async def ping(self) -> None:
        """Read one monitor as load() does, without large texts: a lock on `monitors`, or a missing right, shows.

        It also keeps an idle connection alive on its way through NATs and load balancers.
        """
        ...


@runtime_checkable
class MonitorStore(Protocol):
    """A database with Peekaping's tables, read only.

    - `open()` raises StoreUnavailableError when a later attempt may succeed, StoreError when it will not
      (wrong password, unknown database, a missing table: the message says to run migrate).
    - `session()` waits for a free connection of a bounded pool; entering it raises StoreUnavailableError after the
      store's timeout. A broken connection is replaced by the next `session()`: nobody has to reopen the store.
    - `close()` may be called at any time, also twice.
    """

    async def open(self) -> None:
        """Connect and see that the tables are there."""
        ...

    def session(self) -> AbstractAsyncContextManager[Session]:
        """A connection for the length of the `async with`."""
        ...

    def is_id(self, text: str) -> bool:
        """Whether `text` can be a monitor id of this database, in the very form the database prints it.

        Postgres: a lower-case UUID. MongoDB: an ObjectId. MySQL: 1 to 64 printable ASCII characters. SQLite: 1 to 64
        characters of any kind but NUL.
        """
        ...

    async def ping(self) -> None:
        """Read one monitor, see Session.ping; raises StoreError, StoreUnavailableError where there is no answer."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


def store_for(target: DatabaseTarget, *, connections: int) -> MonitorStore:
    """The store for a target's dialect, holding at most `connections` connections, yet to be opened.

    Raises ConfigError for what a DATABASE_URL says in vain, and for TLS files that cannot be used.
    """
    # Imported when used: a driver that is not needed costs start-up time and memory.
    match target.dialect:
        case "postgres":
            from peekaping_producer.stores.postgres import PostgresStore

            return PostgresStore(target, connections)
        case "mysql":
            from peekaping_producer.stores.mysql import MysqlStore

            return MysqlStore(target, connections)
        case "mongo":
            from peekaping_producer.stores.mongo import MongoStore

            return MongoStore(target, connections)
        case "sqlite":
            from peekaping_producer.stores.sqlite import SqliteStore

            return SqliteStore(target, connections)
