"""The parts of the protobuf wire format that asynq uses. The protobuf library costs ten times as much per message."""

from functools import lru_cache

VARINT, FIXED64, BYTES, GROUP, GROUP_END, FIXED32 = range(6)
"""Wire types: the lower three bits of a tag."""
_MAX_VARINT_BYTES = 10
_UINT64 = (1 << 64) - 1


class WireError(ValueError):
    """The bytes are not valid protobuf."""


@lru_cache(maxsize=65536)
def varint(number: int) -> bytes:
    """Encode an integer; a negative one as int32 and int64 are: in ten bytes."""
    out = bytearray()
    number &= _UINT64
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def bytes_field(number: int, value: bytes) -> bytes:
    """A field of bytes, or of text in UTF-8, or a message; also if it is empty."""
    return varint(number << 3 | BYTES) + varint(len(value)) + value


def int_field(number: int, value: int) -> bytes:
    """A field of an integer; empty for 0, as in proto3."""
    return varint(number << 3 | VARINT) + varint(value) if value else b""


def text_field(number: int, value: str) -> bytes:
    """A field of text; empty for an empty text, as in proto3."""
    return bytes_field(number, value.encode(errors="surrogateescape")) if value else b""


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the unsigned number at `at`, and where it ends. Raises WireError."""
    number = shift = 0
    for byte in data[at : at + _MAX_VARINT_BYTES]:
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number & _UINT64, at
    raise WireError("a number without an end")


def signed(number: int, bits: int) -> int:
    """The unsigned `number`, cut to `bits`, as a signed one."""
    number &= (1 << bits) - 1
    return number - (1 << bits) if number >> (bits - 1) else number


def read_field(data: bytes, at: int) -> tuple[int, int | bytes, int]:
    """Return the tag and the value of the field at `at`, and where it ends. Raises WireError."""
    tag, at = read_varint(data, at)
    if not 0 < tag >> 3 < 1 << 29:
        raise WireError(f"field number {tag >> 3}")
    value, at = _value(data, at, tag)
    return tag, value, at


def _value(data: bytes, at: int, tag: int) -> tuple[int | bytes, int]:
    match tag & 7:
        case 0:  # VARINT
            return read_varint(data, at)
        case 2:  # BYTES
            size, at = read_varint(data, at)
            end = at + size
        case 1 | 5 as fixed:
            end = at + (8 if fixed == FIXED64 else 4)
        case 3:  # GROUP
            end = _end_of_group(data, at, tag)
        case other:
            raise WireError(f"wire type {other}")
    if end > len(data):
        raise WireError("a field that is longer than the data")
    return data[at:end], end


def _end_of_group(data: bytes, at: int, tag: int) -> int:
    """Where the group ends that began before `at`. Nested ones are counted, not entered."""
    open_groups = [tag >> 3]
    while open_groups:
        tag, at = read_varint(data, at)
        match tag & 7:
            case 3:  # GROUP
                open_groups.append(tag >> 3)
            case 4:  # GROUP_END
                if open_groups.pop() != tag >> 3:
                    raise WireError("the end of another group")
            case _:
                _, at = _value(data, at, tag)
    return at
