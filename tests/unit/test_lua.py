"""The scripts compile, use no global that Redis does not have, and name their keys and arguments at their beginning."""

import struct
from collections.abc import Iterator

import pytest
from lupa.lua51 import LuaRuntime

from peekaping_producer.brokers.asynq_keys import ASYNQ_PRELUDE
from peekaping_producer.redis_client.script import CLOCK, Script
from peekaping_producer.schedule import PRELUDE
from peekaping_producer.transports.asynq.scripts import NAMES
from peekaping_producer.transports.asynq.scripts import PRELUDE as TRANSPORT_PRELUDE
from tests.kit.scripts import SCRIPTS

TRANSPORT = [Script("peekaping_producer.transports.asynq", name, prelude=CLOCK + TRANSPORT_PRELUDE) for name in NAMES]
DEMO = [Script("peekaping_producer.demo.monitors", name) for name in ("finish", "take")]
ALLOWED = {"redis", "KEYS", "ARGV", "ipairs", "math", "string", "tonumber", "tostring", "type", "unpack"}
GET_GLOBAL, SET_GLOBAL = 5, 7
"""Opcodes of Lua 5.1."""


class Bytecode:
    """What `string.dump` of Lua 5.1 returns, on a machine with 8 bytes in a pointer."""

    def __init__(self, data: bytes) -> None:
        assert data[:12] == b"\x1bLua\x51\x00\x01\x04\x08\x04\x08\x00", data[:12]
        self._data = data
        self._at = 12

    def globals(self) -> Iterator[str]:
        """The globals that the function and those inside it read or set."""
        self._text()  # the source's name
        self._read("<iiBBBB")
        code = [self._read("<I")[0] for _ in range(self._count())]
        constants = [self._constant() for _ in range(self._count())]
        for instruction in code:
            if instruction & 0x3F in (GET_GLOBAL, SET_GLOBAL):
                yield str(constants[instruction >> 14])
        for _ in range(self._count()):
            yield from self.globals()
        self._read(f"<{self._count()}i")  # lines
        for _ in range(self._count()):  # locals
            self._text()
            self._read("<ii")
        for _ in range(self._count()):  # upvalues
            self._text()

    def _read(self, layout: str) -> tuple[int, ...]:
        found = struct.unpack_from(layout, self._data, self._at)
        self._at += struct.calcsize(layout)
        return found

    def _count(self) -> int:
        return self._read("<i")[0]

    def _text(self) -> str:
        (size,) = self._read("<Q")
        self._at += size
        return self._data[self._at - size : self._at - 1].decode() if size else ""

    def _constant(self) -> object:
        match self._read("<B")[0]:
            case 0:
                return None
            case 1:
                return bool(self._read("<B")[0])
            case 3:
                return self._read("<d")[0]
            case _:
                return self._text()


def globals_of(text: str) -> set[str]:
    """Raises LuaSyntaxError where it does not compile."""
    lua = LuaRuntime(encoding=None)
    dump = lua.execute(b"return string.dump")
    return set(Bytecode(dump(lua.compile(text.encode()))).globals())


@pytest.mark.parametrize("script", [*SCRIPTS, *TRANSPORT, *DEMO], ids=lambda script: script.name)
def test_a_script_uses_no_other_global(script: Script) -> None:
    assert globals_of(script._text) <= ALLOWED


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("local a = 1 return a", set()),
        ("local a = 1 return a + b", {"b"}),
        ("a = 1", {"a"}),
        ("local a = 'x' local function f() return function() return a .. misspelled end end return f", {"misspelled"}),
        ("local a = {nil, true, 2.5} for i = 1, #a do redis.call(a[i]) end", {"redis"}),
    ],
)
def test_globals_are_found_at_any_depth(text: str, found: set[str]) -> None:
    assert globals_of(text) == found


@pytest.mark.parametrize("script", [*SCRIPTS, *TRANSPORT, *DEMO], ids=lambda script: script.name)
def test_a_script_names_its_keys_and_arguments_in_its_first_paragraph(script: Script) -> None:
    text = script._text.removeprefix(CLOCK)
    for prelude in (ASYNQ_PRELUDE, PRELUDE, TRANSPORT_PRELUDE):
        text = text.removeprefix(prelude)
    first, _, rest = text.partition("\n\n")
    assert "= KEYS[1]" in first
    assert "KEYS" not in rest
    assert "ARGV" not in rest
