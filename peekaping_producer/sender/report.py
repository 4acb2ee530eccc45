"""What one run of the sender did."""

from typing import Literal

import msgspec

Result = Literal["success", "error", "failed"]
"""Of an attempt: the API accepted the message, answered with another status, or did not answer."""


class Report(msgspec.Struct):
    """Counts of messages, counts of attempts by result, and the longest time to an answer."""

    sent: int = 0
    failed: int = 0
    attempts: dict[Result, int] = msgspec.field(default_factory=lambda: {"success": 0, "error": 0, "failed": 0})
    slowest_answer_s: float = 0.0
