"""A message, as every transport carries it."""

import msgspec

MAX_ID_BYTES = 255
"""Of an id in UTF-8: AMQP's message_id is a short string."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """Bytes with an id. A repeated message keeps its id."""

    id: str
    """1 to 255 bytes in UTF-8."""
    body: bytes
    content_type: str = "application/octet-stream"


def id_problem(message_id: str) -> str | None:
    """Why a text cannot be the id of a message, or None: for the entrance, because one bad id fails a whole batch."""
    try:
        size = len(message_id) if message_id.isascii() else len(message_id.encode())
    except UnicodeEncodeError:
        return "id: expected text that can be encoded in UTF-8"
    return None if 0 < size <= MAX_ID_BYTES else f"id: expected 1 to {MAX_ID_BYTES} bytes in UTF-8, got {size}"
