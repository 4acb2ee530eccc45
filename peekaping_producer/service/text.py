"""Texts of other programs in messages: printable, on one line, bounded."""

import re


def escaped(text: str) -> str:
    """Return `text`; as a Python literal if it contains characters that could control a terminal or forge a line."""
    return text if text.isprintable() else repr(text)


def one_line(text: str, max_length: int = 200) -> str:
    """Return the first `max_length` characters of `text`, escaped; an ellipsis replaces the rest."""
    return escaped(text if len(text) <= max_length else f"{text[:max_length]}…")


def first_sentence(text: str) -> str:
    """Return the first sentence of a server's message as one line, without the punctuation at its end."""
    return one_line(re.split(r"(?<=[.!?;])\s|[\r\n]", text.strip(), maxsplit=1)[0].rstrip(".;"))
