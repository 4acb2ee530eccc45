"""Keeping secrets out of log lines: by their value anywhere, by the name they go under, and in URLs."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec
from structlog.typing import EventDict, WrappedLogger

MASK = "***"
SHORTEST = 3
"""A secret shorter than this is masked by name only: put in for "a" or "42" wherever they stand, the mask would garble
every line, and show where the letters of the secret are."""
_DEEPEST = 8

# `token` alone is a claim's token, a number that the logs may show.
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:password|passwd|passphrase|pass|pwd|secret|authorization|credentials?|cookie|dsn)$"
    r"|(?:^|_)(?:api|push|access|auth|bearer|refresh|session)_?token$"
    r"|(?:^|_)(?:api|private|secret)_?key$"
    r"|^(?:config|proxy)$"
)
_USERINFO = re.compile(r"(?<=://)[^\s/?#]*@")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Redaction:
    """A structlog processor. What it returns holds only texts, numbers, booleans, None, and dicts and lists of them,
    so that no renderer calls a `repr` afterwards.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        spellings = {each for secret in secrets if len(secret) >= SHORTEST for each in _spellings(secret)}
        longest_first = sorted(spellings, key=lambda each: (-len(each), each))
        # In any case: percent-encoding may be written %2F or %2f, and libraries lower what they take for host names.
        pattern = "|".join(map(re.escape, longest_first))
        self._secrets = re.compile(pattern, re.IGNORECASE) if pattern else None

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """The event with every secret masked."""
        return {self.text(str(name)): self._value(str(name), value, 0) for name, value in event.items()}

    def text(self, text: str) -> str:
        """`text` without secrets."""
        if self._secrets is not None:
            text = self._secrets.sub(MASK, text)
        return _USERINFO.sub(f"{MASK}@", text) if "://" in text else text

    def _value(self, name: str, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if _is_secret_name(name):
            return MASK
        if isinstance(value, bytes):
            value = value.decode("utf-8", "backslashreplace")
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, int | float):
            text = _text_of(value, str)
            if self.text(text) != text:
                return MASK
            return value if text[-1].isdigit() else text  # JSON knows no NaN, and Python shows no endless integer
        if depth == _DEEPEST:
            return "…"
        if isinstance(value, msgspec.Struct):
            value = msgspec.structs.asdict(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self._value(str(key), each, depth + 1) for key, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._value("", each, depth + 1) for each in value]
        return self.text(_text_of(value, str if isinstance(value, BaseException) else repr))


def _text_of(value: object, how: Callable[[object], str]) -> str:
    """A log line must not fail because something in it cannot be shown."""
    try:
        return how(value)
    except Exception:
        return f"<{type(value).__name__}>"


@lru_cache(1024)
def _is_secret_name(name: str) -> bool:
    return _SECRET_NAME.search(_CAMEL.sub("_", name).lower().replace("-", "_")) is not None


def _spellings(secret: str) -> set[str]:
    """How a secret may look in a line: as it is, percent-encoded, or escaped by repr or JSON."""
    encoded = {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    escaped = {repr(secret)[1:-1], json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return {secret} | encoded | escaped
