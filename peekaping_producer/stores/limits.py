"""Limits of the time of reads from a database, and of their size."""

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds, sizes in bytes."""

    acquire_s: float = 5.0
    """For a session to get its connection, and for a new connection to the server (SQLite: for a lock)."""
    command_s: float = 8.0
    """For one statement, and for one load: less than the default lease, after which the result is useless."""
    open_table_s: float = 8.0
    """For the read of no rows by which a store that opens checks `monitors`."""
    answer_s: float = 1.0
    """For the server to report, beyond its limit, that a statement was canceled, and for the connection to be ready."""
    check_after_s: float = 5.0
    """An unused connection is checked after this time: a firewall may have dropped it silently."""
    check_s: float = 2.0
    """For this check; then the connection is replaced."""
    close_s: float = 2.0
    """For open sessions to end when the store closes, and for a connection to close."""

    monitors_s: float = 5.0
    """For `monitors` within a load: this leaves some time for the side tables."""
    side_table_s: float = 2.0
    """For a side table."""
    find_s: float = 2.0
    """For a search by name, which may read every row of `monitors`."""
    retry_part_s: float = 0.5
    """For a part of the rows, after a side table exceeded that."""
    retry_after_s: float = 5.0
    """Delay before a side table that could not be read, or a slow row of one, is read again."""

    batch_bytes: int = 16 * 2**20
    """For the rows of a batch, divided evenly; larger rows are read one at a time."""
    row_bytes: int = 256 * 2**10
    """Upper limit of a row's part of `batch_bytes`."""
    large_rows_bytes: int = 64 * 2**20
    """For all rows that one load reads one at a time. A larger row is never read."""
    cache_bytes: int = 32 * 2**20
    """For the last known rows of each side table, estimated."""
    stream_bytes: int = 64 * 2**20
    """For one MongoDB cursor; the remaining documents are read later."""
