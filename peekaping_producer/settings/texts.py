"""Rules for the text of a value: what is removed around it, and which characters it cannot contain."""

import unicodedata

from peekaping_producer.targets import shown_url

VERBATIM = ("DB_PASS", "REDIS_PASSWORD", "REDIS_SENTINEL_PASSWORD", "RABBITMQ_PASS")
"""Passwords: whitespace and quotes around one may belong to it, since the server may have the same text."""

SECRETS = (
    *VERBATIM,
    *("DATABASE_URL", "REDIS_URL", "RABBITMQ_URL", "HTTP_TOKEN", "API_TOKEN", "GITHUB_TOKEN"),
    *("UI_TOKEN", "UI_READ_TOKEN"),
)
"""Never shown."""

WEB_URLS = ("HTTP_URL", "API_URL", "PUSHGATEWAY_URL")
"""Shown without user, password and values of the query: see `shown_url`."""

FROM_FILES = (*SECRETS, *WEB_URLS)
"""Each may also be read from a file: NAME_FILE."""

_AROUND = " \t\r\n\v\f\x85\xa0\u2028\u2029\u200b\u2060\ufeff"
"""Whitespace and invisible marks that editors, shells and Kubernetes secrets leave around a value."""
_QUOTES = ("'", '"')


def strip_wrapping(text: str) -> str:
    """`text` without what `_AROUND` lists, and without one pair of quotes, which `docker run --env-file` keeps."""
    text = text.strip(_AROUND)
    return text[1:-1].strip(_AROUND) if _is_quoted(text) else text


def normalize(name: str, text: str) -> str:
    """The value of the setting `name`: a password stays as it is, unless it is two quotes with nothing between them."""
    if name in VERBATIM:
        return "" if _is_quoted(text) and len(text) == 2 else text
    return strip_wrapping(text)


def has_hidden_characters(text: str) -> bool:
    """Whether `text` contains control or format characters, or bytes that are not text: terminals do not show them."""
    return any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in text)


def has_forbidden_characters(name: str, text: str) -> bool:
    """Whether no setting `name` can contain `text`. A password may contain control characters, but no NUL."""
    if name in VERBATIM:
        return any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text)
    return has_hidden_characters(text)


def masked(name: str, text: str) -> str:
    """A value in an error message. One with an @ may be a URL with a password in the wrong place."""
    if name in WEB_URLS:
        return repr(shown_url(text)) if "://" in text else "a text without a scheme"
    if name in SECRETS or "@" in text:
        return "***"
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES
