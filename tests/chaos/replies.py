"""Where replies of RESP (protocol 2) end."""

from hiredis import ProtocolError, Reader

_BULK, _ARRAY = b"$*"
_SIMPLE = b"+-:"
_SHORT = 65536


class ReplySplitter:
    """Splits the data of a server into whole replies, whatever its pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._missing = 1
        """How many elements the first reply still lacks, as far as is known."""

    def feed(self, piece: bytes) -> None:
        """Take what came."""
        self._buffer += piece

    def next(self) -> bytes | None:
        """The next whole reply, or None while there is none. Raises ValueError where this is no reply."""
        buffer, at, missing = self._buffer, self._scanned, self._missing
        if at == 0 and len(buffer) <= _SHORT and _is_one_reply(bytes(buffer)):
            return self._take(len(buffer))
        while missing:
            end = buffer.find(b"\r\n", at)
            if end < 0:
                break
            after = end + 2
            if buffer[at] == _BULK:
                size = int(buffer[at + 1 : end])
                if size >= 0:
                    after += size + 2
                    if after > len(buffer):
                        break
            elif buffer[at] == _ARRAY:
                missing += max(int(buffer[at + 1 : end]), 0)
            elif buffer[at] not in _SIMPLE:
                raise ValueError(f"no reply of RESP 2 begins with {bytes(buffer[at : at + 20])!r}")
            at = after
            missing -= 1
        self._scanned, self._missing = at, missing
        return None if missing else self._take(at)

    def rest(self) -> bytes:
        """What has come and is no whole reply yet; it is forgotten here."""
        return self._take(len(self._buffer))

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._scanned, self._missing = 0, 1
        return taken


def _is_one_reply(data: bytes) -> bool:
    """Nearly always so; hiredis checks it fifteen times faster than the walk above."""
    reader = Reader()
    reader.feed(data)
    try:
        return reader.gets() is not False and not reader.has_data()
    except ProtocolError:
        return False
