"""Create the tables that the producer reads, where the API server's own migrations have not created them.

The migrations are plain files, `<dialect>/NNNN_name.sql` (`.json` for MongoDB), applied in the order of their names and
recorded in the table `peekaping_producer_migrations`. A database with monitors and without this table is the API
server's: nothing is written to it.
"""

from peekaping_producer.migrate.dialect import dialect_of
from peekaping_producer.migrate.schema import NO_TABLES, MigrationReport, SchemaState, inspect, migrate, scripts

__all__ = ["NO_TABLES", "MigrationReport", "SchemaState", "dialect_of", "inspect", "migrate", "scripts"]
