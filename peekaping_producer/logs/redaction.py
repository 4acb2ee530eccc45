"""Masks secrets in log lines: by their value, by the name of a field, and in URLs."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import msgspec

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

MASK = "***"
MIN_LENGTH = 3
"""Shorter secrets are masked by name only: a mask for every "a" or "42" would garble lines, and reveal the secret."""
_MAX_DEPTH = 8

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
    """A structlog processor. It returns only texts, numbers, booleans, None, and dicts and lists of these, so that no
    renderer calls `repr` afterwards.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        spellings = {spelling for secret in secrets if len(secret) >= MIN_LENGTH for spelling in _spellings(secret)}
        longest_first = sorted(spellings, key=lambda spelling: (-len(spelling), spelling))
        # Regardless of case: %2F may be written %2f, and libraries convert host names to lower case.
        pattern = "|".join(map(re.escape, longest_first))
        self._secrets = re.compile(pattern, re.IGNORECASE) if pattern else None

    def __call__(self, _logger: "WrappedLogger", _method: str, event: "EventDict") -> "EventDict":
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
            return value if text[-1].isdigit() else text  # JSON has no NaN, and Python refuses to print huge integers
        if depth == _MAX_DEPTH:
            return "…"
        if isinstance(value, msgspec.Struct):
            value = msgspec.structs.asdict(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self._value(str(key), item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._value("", item, depth + 1) for item in value]
        return self.text(_text_of(value, str if isinstance(value, BaseException) else repr))


def _text_of(value: object, how: Callable[[object], str]) -> str:
    """The text of a value, or its type if `how` fails."""
    try:
        return how(value)
    except Exception:  # repr() of any object; a log call must not fail
        return f"<{type(value).__name__}>"


@lru_cache(1024)
def _is_secret_name(name: str) -> bool:
    return _SECRET_NAME.search(_CAMEL.sub("_", name).lower().replace("-", "_")) is not None


def _spellings(secret: str) -> set[str]:
    """The forms of a secret in a line: as it is, percent-encoded, and escaped by repr or JSON."""
    encoded = {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    escaped = {repr(secret)[1:-1], json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return {secret} | encoded | escaped
