"""The schedule: which monitor is due when, which claim holds it, and which replica leads.

keys (names in Redis) · model (values and limits) · schedule (a method per Lua script)
· replies (decodes what they return).
"""

from peekaping_producer.schedule.model import (
    CALL_LIMIT,
    CLAIM_WITHIN_S,
    CLOCK_STEP_SLACK_MS,
    FORGET_REPORT_S,
    KEEP_SYNC_REQUEST_S,
    MAX_DELAY_S,
    MAX_ID_LENGTH,
    MAX_LEADER_TTL_S,
    REPORT_AGE_S,
    CampaignOutcome,
    CampaignResult,
    Claim,
    Comparison,
    Details,
    LeasedClaim,
    Member,
    Move,
    PlaceResult,
    Rescheduled,
    Slots,
    Stats,
    StoredEvent,
    StoredReport,
    SyncRequest,
)
from peekaping_producer.schedule.schedule import PRELUDE, Schedule

__all__ = [
    "CALL_LIMIT",
    "CLAIM_WITHIN_S",
    "CLOCK_STEP_SLACK_MS",
    "FORGET_REPORT_S",
    "KEEP_SYNC_REQUEST_S",
    "MAX_DELAY_S",
    "MAX_ID_LENGTH",
    "MAX_LEADER_TTL_S",
    "PRELUDE",
    "REPORT_AGE_S",
    "CampaignOutcome",
    "CampaignResult",
    "Claim",
    "Comparison",
    "Details",
    "LeasedClaim",
    "Member",
    "Move",
    "PlaceResult",
    "Rescheduled",
    "Schedule",
    "Slots",
    "Stats",
    "StoredEvent",
    "StoredReport",
    "SyncRequest",
]
