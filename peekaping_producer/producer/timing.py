"""How long the loops of a replica wait, in seconds: one place, so that tests shorten them by a value."""

import msgspec


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """The durations of one replica."""

    # Claims
    shortest_wait_s: float = 0.005
    longest_wait_s: float = 0.25
    """For the next due monitor: what another replica made due is seen this late at most."""
    idle_s: float = 30.0
    """How long a worker waits for a claim before it checks its database connection."""

    # Workers
    load_timeout_s: float = 10.0
    """More than one slow statement; less than what makes a loop look stalled."""
    ping_timeout_s: float = 2.0
    """After a load that failed: whether the database answers at all."""
    retry_waiting_s: float = 2.0
    """When to try a monitor again whose task needs a table that does not answer."""

    # Reclaimer
    reclaim_every_s: float = 2.0

    # Leader
    leader_ttl_s: float = 10.0
    renew_every_s: float = 5.0
    trust_margin_s: float = 1.0
    """A term is trusted until this long before its key ends."""
    campaign_every_s: float = 1.0

    # Hints
    retry_leased_s: float = 0.25
    """For the first time; then twice as long each time."""
    longest_retry_s: float = 5.0

    # Sync
    first_sync_wait_s: float = 2.0
    """The first sync of a term starts once the events are subscribed, or after this time."""
    read_again_after_s: float = 5.0

    sync_late_after_s: float = 60.0
    """Beyond three intervals: without a success for longer, the sync of a leader is late."""

    # Vitals
    yield_after_s: float = 15.0
    """A leader that cannot read the database for longer than this resigns, if another replica can work."""
    sample_every_s: float = 5.0
    sample_watched_every_s: float = 1.0
    """While a page is open: the schedule, and the report; the rest is sampled no more often."""
    stale_after_s: float = 12.0
    stalled_after_s: float = 13.0
    """More than the longest step of a loop: a hand-off that is repeated (8 s and a call), or a load (10 s)."""
    degraded_for_s: float = 15.0
    """A table whose last known content was used within this time does not answer now."""

    # Summary
    summary_every_s: float = 60.0

    # Drain
    shutdown_reserve_s: float = 3.0
    """The part of SHUTDOWN_GRACE that is kept for giving back, resigning and closing."""


TIMING = Timing()
"""What a replica runs with."""
