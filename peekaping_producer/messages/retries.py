"""When a failed message is retried."""

import random

import msgspec

MAX_DELAY_S = 7 * 86_400.0


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """How often, and when, a message is tried again after a failure. A message's own limits come first."""

    max_attempts: int = 5
    first_delay_s: float = 1.0
    """Doubled after each attempt; a random factor of 0.5 to 1 is applied."""
    max_delay_s: float = 600.0
    timeout_s: float | None = None
    """For one attempt."""

    def delay_s(self, attempt: int) -> float:
        """The delay after this attempt failed."""
        delay_s = min(self.first_delay_s * float(2 ** min(attempt - 1, 30)), self.max_delay_s)
        return delay_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


class RetryLaterError(Exception):
    """A handler raises this to be called again with this message after `delay_s`, as the next attempt."""

    def __init__(self, delay_s: float, reason: str = "") -> None:
        """`delay_s`: 0 to MAX_DELAY_S; any other number is replaced by the nearest of these."""
        super().__init__(delay_s, reason)  # the arguments, so that it can be pickled
        self.delay_s = min(max(0.0, delay_s), MAX_DELAY_S)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason or f"again in {self.delay_s:g} s"
