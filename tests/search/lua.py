"""Runs scripts in Lua 5.1 on Memory as Redis does: conversions, errors, globals, and the limit of unpack."""

from collections.abc import Iterable
from hashlib import sha1
from typing import Any

from lupa.lua51 import LuaError, LuaRuntime, lua_type
from redis.exceptions import NoScriptError, ResponseError

from peekaping_producer.redis_client.failures import translated
from tests.search.keyspace import CommandError, Reply, Status
from tests.search.memory import Memory

_SANDBOX = b"""
local host, table_of = ...
local function answer(reply)
  return reply
end
redis = {}
function redis.pcall(...) return answer(host(...)) end
function redis.call(...)
  local reply = host(...)
  if type(reply) == 'table' and reply.err then error(reply, 0) end
  return reply
end
function redis.error_reply(text) return {err = text} end
function redis.status_reply(text) return {ok = text} end
python, io, os, dofile, loadfile, require, package, module, print = nil
KEYS, ARGV = {}, {}
setmetatable(_G, {
  __index = function(_, name)
    error('Script attempted to access nonexistent global variable ' .. "'" .. tostring(name) .. "'", 2)
  end,
  __newindex = function(_, name)
    error("Attempt to modify a readonly table", 2)
  end,
})
return function(script, keys, args)
  rawset(_G, 'KEYS', keys)
  rawset(_G, 'ARGV', args)
  return pcall(script)
end
"""
_COMPILE = b"local source = ... return loadstring(source, '@user_script')"


class Scripts:
    """Compiles each text once and runs it on `memory`."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self._lua = LuaRuntime(encoding=None, unpack_returned_tuples=True)
        self._compile = self._lua.execute(b"return function(source) return loadstring(source, '@user_script') end")
        self._run = self._lua.execute(_SANDBOX, self._call)
        self._compiled: dict[str, Any] = {}

    def load(self, text: str) -> str:
        """SCRIPT LOAD; raises ResponseError if it does not compile."""
        sha = sha1(text.encode(), usedforsecurity=False).hexdigest()
        if sha not in self._compiled:
            script = self._compile(text.encode())
            if isinstance(script, tuple):
                raise ResponseError(f"Error compiling script (new function): {script[1].decode()}")
            self._compiled[sha] = script
        return sha

    def run(self, sha: str, keys: Iterable[bytes], args: Iterable[bytes]) -> Reply:
        """EVALSHA; raises NoScriptError, or ResponseError for an error in the script."""
        script = self._compiled.get(sha)
        if script is None:
            raise NoScriptError("No matching script. Please use EVAL.", status_code="NOSCRIPT")
        table = self._lua.table_from
        try:
            went_well, reply = _two(self._run(script, table(list(keys)), table(list(args))))
        except LuaError as error:
            raise _refusal(str(error)) from None
        if not went_well:
            raise _refusal(_error_text(reply))
        return _from_lua(reply)

    def _call(self, *args: Any) -> Any:
        try:
            return self._to_lua(self.memory.call(*map(_argument, args)))
        except CommandError as error:
            return self._lua.table_from({b"err": str(error).encode()})

    def _to_lua(self, reply: Reply) -> Any:
        if reply is None:
            return False
        if isinstance(reply, list):
            return self._lua.table_from([self._to_lua(each) for each in reply])
        if isinstance(reply, Status):
            return self._lua.table_from({b"ok": bytes(reply)})
        return reply


def _two(returned: Any) -> tuple[bool, Any]:
    """The result of Lua's pcall: without a value, it is a single boolean."""
    return (returned[0], returned[1]) if isinstance(returned, tuple) else (returned, None)


def _argument(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CommandError("ERR Command arguments must be strings or integers")
    return b"%d" % value if value == int(value) else b"%.17g" % value


def _from_lua(value: Any) -> Reply:
    """A script's result as the client gets it: numbers are truncated to integers, an array ends at its first nil."""
    if value is None or value is False:
        return None
    if value is True:
        return 1
    if isinstance(value, bytes):
        return value
    if isinstance(value, int | float):
        return int(value)
    if lua_type(value) != "table":
        return None
    if (error := value[b"err"]) is not None:
        raise _refusal(error.decode(errors="replace"))
    if (status := value[b"ok"]) is not None:
        return Status(status)
    items = []
    at = 1
    while (item := value[at]) is not None:
        items.append(_from_lua(item))
        at += 1
    return items


def _error_text(error: Any) -> str:
    if lua_type(error) == "table":
        error = error[b"err"]
    return error.decode(errors="replace") if isinstance(error, bytes) else str(error)


def _refusal(text: str) -> ResponseError:
    """As redis-py words it."""
    return ResponseError(text.removeprefix("ERR "))


def encoded(value: Any) -> bytes:
    """A word of a command as redis-py sends it."""
    if isinstance(value, bytes):
        return value
    return (repr(value) if isinstance(value, float) else str(value)).encode(errors="surrogateescape")


class Client:
    """Replaces the product's client: every call returns at once."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self.calls: list[tuple[str, tuple[bytes, ...], tuple[bytes, ...], Reply]] = []
        """Every script call since the list was last emptied: SHA, KEYS, ARGV and reply."""

    @translated
    async def evalsha(self, sha: str, count: int, *rest: Any) -> Reply:
        keys, args = tuple(map(encoded, rest[:count])), tuple(map(encoded, rest[count:]))
        reply = self._scripts.run(sha, keys, args)
        self.calls.append((sha, keys, args, reply))
        return reply

    @translated
    async def eval(self, text: str, count: int, *rest: Any) -> Reply:
        return await self.evalsha(self._scripts.load(text), count, *rest)

    @translated
    async def execute_command(self, *words: Any) -> Reply:
        try:
            return self._scripts.memory.call(*map(encoded, words))
        except CommandError as error:
            raise _refusal(str(error)) from None

    async def zscan(self, key: str, cursor: int, count: int) -> tuple[int, list[tuple[bytes, float]]]:
        _, flat = await self.execute_command("ZSCAN", key, cursor, "COUNT", count)
        return 0, [(flat[i], float(flat[i + 1])) for i in range(0, len(flat), 2)]

    async def zrange(self, key: str, start: Any, end: Any, *, byscore: bool = False) -> list[bytes]:
        options = ("BYSCORE",) if byscore else ()
        return await self.execute_command("ZRANGE", key, start, end, *options)  # type: ignore[no-any-return]

    async def zadd(self, key: str, members: dict[str, float], *, xx: bool = False) -> Reply:
        flat = [part for member, score in members.items() for part in (score, member)]
        return await self.execute_command("ZADD", key, *(["XX"] if xx else []), *flat)

    async def hexists(self, key: str, field: str) -> bool:
        return bool(await self.execute_command("HEXISTS", key, field))
