"""How long a database may take, and how much is read from it at once."""

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds, sizes in bytes."""

    acquire_s: float = 5.0
    """For a session to get its connection, and for a new connection to the server (SQLite: for a lock)."""
    command_s: float = 8.0
    """For one statement, and for one load: less than the default lease, since a later answer is of no use."""
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
    part_s: float = 0.5
    """For a part of the rows that a side table did not return within that."""
    retry_after_s: float = 5.0
    """A side table that did not answer, or a row of one, is not read again before this time."""

    batch_bytes: int = 16 * 2**20
    """The rows of a batch share this evenly; larger rows are read one at a time."""
    share_bytes: int = 256 * 2**10
    """The largest share."""
    alone_bytes: int = 64 * 2**20
    """What one load may read one row at a time. A larger row is not read at all."""
    known_bytes: int = 32 * 2**20
    """What is kept of each side table, as an estimate."""
    stream_bytes: int = 64 * 2**20
    """What one MongoDB cursor may return before the rest is left for later."""
