"""Makes the store for a target: one Store, with the driver and the session of the database."""

from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.protocol import MonitorStore
from peekaping_producer.targets import DatabaseTarget


def store_for(target: DatabaseTarget, *, connections: int, limits: Limits = Limits()) -> MonitorStore:  # noqa: B008
    """The store for a target's dialect, with at most `connections` connections, not opened yet.

    Raises ConfigError for unsupported parameters of a DATABASE_URL, and for TLS files that cannot be used.
    """
    # Imported when used: a driver that is not needed costs start-up time and memory.
    from peekaping_producer.stores.store import Store

    match target.dialect:
        case "postgres":
            from peekaping_producer.stores.postgres import PostgresSession
            from peekaping_producer.stores.postgres_connections import PostgresDriver

            return Store(PostgresDriver(target, limits), PostgresSession, connections)
        case "mysql":
            from peekaping_producer.stores.mysql import MysqlSession
            from peekaping_producer.stores.mysql_connections import MysqlDriver

            return Store(MysqlDriver(target, limits), MysqlSession, connections)
        case "mongo":
            from peekaping_producer.stores.mongo import MongoSession
            from peekaping_producer.stores.mongo_connections import MongoDriver

            return Store(MongoDriver(target, limits, connections), MongoSession, connections)
        case "sqlite":
            from peekaping_producer.stores.sqlite import SqliteSession
            from peekaping_producer.stores.sqlite_connections import SqliteDriver

            return Store(SqliteDriver(target, limits), SqliteSession, connections)
