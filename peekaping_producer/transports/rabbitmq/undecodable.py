"""Frames that the library cannot decode: made decodable, so that one message does not end every connection.

AMQP's short strings are UTF-8 by convention only; RabbitMQ passes on any bytes, and any timestamp.
"""

import asyncio
from collections.abc import Iterable
from typing import SupportsIndex

from aiormq.exceptions import AMQPError, InvalidFrameError
from pamqp import frame

_METHOD, _HEADER = 1, 2
_DELIVER = b"\x00\x3c\x00\x3c"
_SIZES = 12
"""Bytes of a content header before its properties: class, weight, size of the body."""


class Reader(asyncio.StreamReader):
    """Keeps what arrived first and last."""

    first = b""
    last = b""

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        """See StreamReader."""
        self.last = bytes(data)
        self.first = self.first or self.last[:8]
        super().feed_data(data)


class RepairingReader(Reader):
    """Repairs frames, at the cost of decoding each twice: only after a frame that could not be decoded."""

    _head = b""

    async def readexactly(self, n: int) -> bytes:
        """See StreamReader. The library reads a frame's type, then its channel and size, then the rest."""
        data = await super().readexactly(n)
        if len(self._head) < 7:
            self._head += data
            return data
        head, self._head = self._head, b""
        return repaired(head, data)


def is_undecodable(error: BaseException | None) -> bool:
    """Whether a connection ended because of a frame that the library could not decode."""
    if isinstance(error, InvalidFrameError):
        return True
    return isinstance(error, Exception) and not isinstance(error, AMQPError | OSError | RuntimeError)


def repaired(head: bytes, rest: bytes) -> bytes:
    """The rest of a frame: of a header that cannot be decoded without properties, of a delivery with ASCII names."""
    try:
        frame.unmarshal(head + rest)
    except Exception:  # of any kind, for bytes that cannot be decoded
        if head[0] == _HEADER:
            return rest[:_SIZES] + bytes(len(rest) - _SIZES - 1) + rest[-1:]
        if head[0] == _METHOD and rest.startswith(_DELIVER):
            return _with_ascii_names(rest)
    return rest


def _with_ascii_names(deliver: bytes) -> bytes:
    """Replace other characters in the names of exchange and routing key, which nothing here uses."""
    at = len(_DELIVER)
    at += 1 + deliver[at] + 9  # consumer tag, delivery tag, redelivered
    pieces = [deliver[:at]]
    for _ in range(2):
        end = at + 1 + deliver[at]
        pieces += (deliver[at : at + 1], bytes(byte if byte < 128 else ord("?") for byte in deliver[at + 1 : end]))
        at = end
    return b"".join(pieces) + deliver[at:]
