"""The schedule: which monitor is due when, which claim holds it, and which replica leads.

keys (names in Redis) · model (values) · limits · a method per Lua script: claiming (claims), leading (what the leader
does), reading (the state of all), which schedule joins · steering (what people ask for: run now, hold, release)
· replies (decodes what the scripts return) · part (what these share).
"""

from peekaping_producer.schedule.limits import (
    ALL_MONITORS,
    CALL_LIMIT,
    CLAIM_WITHIN_S,
    CLOCK_STEP_SLACK_MS,
    FORGET_REPORT_S,
    KEEP_SYNC_REQUEST_S,
    MAX_DELAY_S,
    MAX_HOLD_ALL_S,
    MAX_HOLD_S,
    MAX_HOLDS,
    MAX_ID_LENGTH,
    MAX_LEADER_TTL_S,
    REPORT_AGE_S,
)
from peekaping_producer.schedule.model import (
    ActReply,
    CampaignOutcome,
    CampaignResult,
    Claim,
    ClaimedMember,
    Comparison,
    Details,
    LeasedClaim,
    Member,
    Placement,
    PlaceResult,
    Rescheduled,
    Slots,
    Stats,
    StoredEvent,
    StoredReport,
    SyncRequest,
)
from peekaping_producer.schedule.part import PRELUDE
from peekaping_producer.schedule.replies import MAX_SCORE, number_of
from peekaping_producer.schedule.schedule import Schedule
from peekaping_producer.schedule.steering import Steering

__all__ = [
    "ALL_MONITORS",
    "CALL_LIMIT",
    "CLAIM_WITHIN_S",
    "CLOCK_STEP_SLACK_MS",
    "FORGET_REPORT_S",
    "KEEP_SYNC_REQUEST_S",
    "MAX_DELAY_S",
    "MAX_HOLDS",
    "MAX_HOLD_ALL_S",
    "MAX_HOLD_S",
    "MAX_ID_LENGTH",
    "MAX_LEADER_TTL_S",
    "MAX_SCORE",
    "PRELUDE",
    "REPORT_AGE_S",
    "ActReply",
    "CampaignOutcome",
    "CampaignResult",
    "Claim",
    "ClaimedMember",
    "Comparison",
    "Details",
    "LeasedClaim",
    "Member",
    "PlaceResult",
    "Placement",
    "Rescheduled",
    "Schedule",
    "Slots",
    "Stats",
    "Steering",
    "StoredEvent",
    "StoredReport",
    "SyncRequest",
    "number_of",
]
