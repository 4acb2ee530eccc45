"""The limits of the values in the schedule: counts, lengths and times."""

CALL_LIMIT = 1000
"""Ids per script call: Lua's unpack returns at most 7,999 values."""
MAX_DELAY_S = 60.0
"""The longest delay of a claimed monitor after a failed attempt."""
CLOCK_STEP_SLACK_MS = 5000
"""A step of Redis TIME (a failover) up to this does not make sync move due times."""
MAX_ID_LENGTH = 64
"""Bytes. No monitor's id is longer; a claim removes longer members of the schedule."""
CLAIM_WITHIN_S = 2.0
"""A claim that reaches Redis later than this is refused: its sender has stopped waiting."""
MAX_LEADER_TTL_S = 60.0
"""A longer TTL of the leader key was set by a wrong clock; TTLs in use are 10 s."""
REPORT_AGE_S = 15.0
"""The replica of an older report no longer runs."""
FORGET_REPORT_S = 60.0
"""An older report is removed."""
LATE_CLAIM_S = 2.0
"""A claim takes milliseconds; a monitor that has waited for longer in one is overdue."""
MAX_HOLD_S, MAX_HOLD_ALL_S = 7 * 86_400, 3600
"""The longest hold on one monitor, and on all. The scripts tolerate a minute more, after a step of Redis TIME."""
MAX_HOLDS = 1000
"""At once."""
ALL_MONITORS = "*"
"""In place of an id: the hold on all monitors."""
WATCHED_FOR_S = 10.0
"""A page that was read longer ago counts as closed."""
KEEP_SYNC_REQUEST_S = 120.0
"""A request for a sync that no leader answers is removed after this time."""
