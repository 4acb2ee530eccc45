"""What a person may do to the schedule: check monitors now, hold them, release them. Commands and the page call it.

model (outcomes) · sentences (their texts) · arguments (their checks) · acts (performs them) · holds (the current ones).
"""

from peekaping_producer.operations.acts.acts import Acts
from peekaping_producer.operations.acts.model import (
    DEFAULT_HOLD_ALL_S,
    DEFAULT_HOLD_S,
    MAX_RUN_NOW,
    ActCode,
    Actor,
    ActOutcome,
    ActResult,
)

__all__ = [
    "DEFAULT_HOLD_ALL_S",
    "DEFAULT_HOLD_S",
    "MAX_RUN_NOW",
    "ActCode",
    "ActOutcome",
    "ActResult",
    "Actor",
    "Acts",
]
