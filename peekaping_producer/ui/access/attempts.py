"""Limits wrong tokens and cookies: of one client, a few different ones a minute."""

import math
import time
from collections.abc import Callable
from hashlib import sha256

from peekaping_producer.web.addresses import network_of

MAX_WRONG = 5
"""Different wrong tokens of one client within PERIOD_S."""
PERIOD_S = 60.0
MAX_CLIENTS = 10_000
"""Whose wrong tokens are counted; a new one replaces the one that was wrong least recently."""


class Attempts:
    """Counts wrong tokens, or cookies. A repeated one counts once: it is a script with an old token, and no guess."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: dict[str, dict[bytes, float]] = {}
        """By client, by the hash of a wrong token, when it was counted; the least recent client first."""

    def wait_s(self, address: str) -> int:
        """Return the seconds until a token of the client at `address` is compared again; 0: now."""
        wrong = self._recent(network_of(address))
        if len(wrong) < MAX_WRONG:
            return 0
        return max(1, math.ceil(min(wrong.values()) + PERIOD_S - self._clock()))

    def count(self, address: str, token: str) -> None:
        """Count a wrong token."""
        client = network_of(address)
        wrong = self._recent(client)
        wrong.setdefault(_digest(token), self._clock())
        self._wrong.pop(client, None)
        if len(self._wrong) >= MAX_CLIENTS:
            del self._wrong[next(iter(self._wrong))]
        self._wrong[client] = wrong

    def _recent(self, client: str) -> dict[bytes, float]:
        since = self._clock() - PERIOD_S
        return {digest: at for digest, at in self._wrong.get(client, {}).items() if at > since}


def _digest(token: str) -> bytes:
    return sha256(token.encode(errors="surrogateescape")).digest()
