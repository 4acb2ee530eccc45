"""What a handler returns, as the bytes that a broker with results (asynq) stores."""

import msgspec

from peekaping_producer.service.text import one_line

MAX_RESULT_BYTES = 1024 * 1024
"""Redis accepts an argument of this size, whatever its `proto-max-bulk-len` is."""


class Result(msgspec.Struct, frozen=True):
    """A result, or why it cannot be stored."""

    data: bytes = b""
    problem: str = ""


def result_of(returned: object) -> Result:
    """Bytes as they are, text in UTF-8, any other value as JSON. A Result is returned as it is."""
    if isinstance(returned, Result):
        return returned
    try:
        data = _encoded(returned)
    except Exception as error:  # of msgspec, or of a type of the handler's
        got = f"{type(returned).__name__} ({one_line(f'{type(error).__name__}: {error}')})"
        return Result(problem=f"result: expected bytes, text or a value that can be JSON, got {got}")
    if len(data) > MAX_RESULT_BYTES:
        return Result(problem=f"result: expected at most {MAX_RESULT_BYTES} bytes, got {len(data)}")
    return Result(data)


def no_result(_returned: object) -> None:
    """For a broker without results."""


def _encoded(value: object) -> bytes:
    match value:
        case bytes() | bytearray() | memoryview():
            return bytes(value)
        case str():
            return value.encode()
        case _:
            return msgspec.json.encode(value)
