"""A proxy before Redis that recognizes the product's scripts, and can report, hold and lose each step."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from hashlib import sha1
from typing import Any

from hiredis import ProtocolError, Reader, pack_command

from peekaping_producer.service.aio import cancel_and_wait
from tests.chaos.breakpoints import At, Breakpoint, Losses, StepVerdict
from tests.chaos.replies import ReplySplitter
from tests.chaos.steps import Step
from tests.kit.fault_proxy import PIECE, Ends, FaultProxy, running
from tests.kit.scripts import SCRIPT_NAMES

_STREAMS = {b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE", b"MONITOR", b"SYNC", b"PSYNC"}
"""After these a server sends data without a command, and nothing can be paired."""


class StepProxy(FaultProxy):
    """Forwards RESP (protocol 2) to `upstream_port`, command by command, each paired with its reply.

    A command that runs one of `scripts` (SHA to name) is a step. EVALSHA that is answered with NOSCRIPT, and the EVAL
    that follows, are one step: only the answer to the second counts as one. In MULTI a script is queued, not run: no
    step. A refusal (OOM, READONLY, ...) is seen, but hits no breakpoint for answers.
    """

    def __init__(self, upstream_port: int, *, scripts: Mapping[str, str] | None = None) -> None:
        super().__init__(upstream_port)
        self.seen: Callable[[Step], None] = lambda _: None
        """Called for each step when its answer arrives here, before any delay, hold or loss."""
        self._scripts = {sha.encode(): name for sha, name in (SCRIPT_NAMES if scripts is None else scripts).items()}
        self._breakpoints: list[Breakpoint] = []
        self._losses: list[Losses] = []

    def break_at(self, script: str, at: At) -> Breakpoint:
        """Hold the next step of `script` back before the server gets it ("asked") or when it has run ("answered").

        One step of one connection is held: all others flow. "answered" also catches a step that is on its way by now.
        """
        point = Breakpoint(self._known(script), at)
        self._breakpoints = [each for each in self._breakpoints if each.armed] + [point]
        return point

    def lose_replies_of(self, script: str, *, times: int = 1) -> Losses:
        """Drop the next replies of `script`, and all that follows on their connections, which stay open."""
        losses = Losses(self._known(script), times)
        self._losses = [each for each in self._losses if each.left > 0] + [losses]
        return losses

    def step_of(self, command: list[bytes]) -> Step | None:
        """The step that `command` asks for, if it is one."""
        if len(command) < 3 or len(command[0]) > 7:
            return None
        name = command[0].upper()
        if name == b"EVALSHA":
            script = self._scripts.get(command[1].lower())
        elif name == b"EVAL":
            script = self._scripts.get(_sha(command[1]))
        else:
            return None
        if script is None:
            return None
        first_arg = 3 + int(command[2])
        return Step(script, command[3:first_arg], command[first_arg:])

    def breakpoint_at(self, step: Step, at: At) -> Breakpoint | None:
        """The point that `step` has just hit, if any."""
        return next((point for point in self._breakpoints if point.hits(step, at)), None)

    def loses(self, step: Step) -> bool:
        """Whether the answer to `step` gets lost."""
        return any(losses.takes(step) for losses in self._losses)

    def _known(self, script: str) -> str:
        if script not in self._scripts.values():
            raise ValueError(f"got script {script!r}, expected one of {', '.join(sorted(self._scripts.values()))}")
        return script

    async def _carry(self, ends: Ends) -> None:
        await _Conversation(self, ends).carry()


def step_proxy(
    upstream_port: int, *, scripts: Mapping[str, str] | None = None
) -> AbstractAsyncContextManager[StepProxy]:
    """A proxy that is up, for the length of the block; it recognizes the product's scripts, or `scripts`."""
    return running(StepProxy(upstream_port, scripts=scripts))


@dataclass(frozen=True)
class _Arrival:
    """Data of the server on its way to the client."""

    at: float
    answer: bytes
    point: Breakpoint | None = None
    lost: bool = False


class _Conversation:
    """One client's connection: commands one way, replies the other, first asked, first answered."""

    def __init__(self, proxy: StepProxy, ends: Ends) -> None:
        self._proxy = proxy
        self._ends = ends
        self._asked: deque[Step | None] = deque()
        """What is not answered yet; None is no step."""
        self._all_answered = asyncio.Event()
        self._all_answered.set()
        self._streams = False
        self._in_transaction = False
        self._arrived: asyncio.Queue[_Arrival | None] = asyncio.Queue()
        """None: the server went."""

    async def carry(self) -> None:
        """Until the client has gone and the server has done what it was asked."""
        replies = [asyncio.create_task(self._listen()), asyncio.create_task(self._deliver())]
        try:
            await self._ask()
            await self._all_answered.wait()
        finally:
            await cancel_and_wait(*replies)

    async def _ask(self) -> None:
        """Forward the commands of the client, until it closes the connection."""
        silenced = False
        async for command in self._commands():
            step = None if silenced or self._in_transaction else self._proxy.step_of(command)
            if step and (point := self._proxy.breakpoint_at(step, "asked")):
                verdict = await point.verdict()
                if verdict is StepVerdict.CUT:
                    self._ends.to_client.transport.abort()
                silenced = verdict is not StepVerdict.RELEASE
            if silenced:
                continue
            await self._proxy.request_passes()
            self._note(command, step)
            self._ends.to_server.write(pack_command(tuple(command)))
            await self._ends.to_server.drain()

    async def _commands(self) -> AsyncIterator[list[bytes]]:
        reader = Reader()
        while piece := await self._read_client():
            reader.feed(piece)
            while (command := _command_from(reader)) is not None:
                yield command

    async def _read_client(self) -> bytes:
        with suppress(ConnectionError):  # a client that was killed resets the connection
            return await self._ends.client.read(PIECE)
        return b""

    def _note(self, command: list[bytes], step: Step | None) -> None:
        """Remember what the next replies answer."""
        if self._streams:
            return
        name = command[0].upper()
        if name == b"MULTI":
            self._in_transaction = True
        elif name in (b"EXEC", b"DISCARD"):
            self._in_transaction = False
        if name in _STREAMS:
            self._streams = True
        else:
            self._asked.append(step)
            self._all_answered.clear()

    async def _listen(self) -> None:
        """Pair the replies of the server with the commands, until it closes the connection."""
        replies = ReplySplitter()
        now = asyncio.get_running_loop().time
        try:
            with suppress(OSError):
                while piece := await self._ends.server.read(PIECE):
                    replies.feed(piece)
                    while self._asked and (reply := replies.next()) is not None:
                        self._arrived.put_nowait(self._answered(self._asked.popleft(), reply, now()))
                    if not self._asked:
                        self._all_answered.set()
                        if unasked := replies.rest():
                            self._arrived.put_nowait(_Arrival(now(), unasked))
        finally:
            self._all_answered.set()
            self._arrived.put_nowait(None)

    def _answered(self, step: Step | None, reply: bytes, now: float) -> _Arrival:
        if step is None:
            return _Arrival(now, reply)
        step.answer = reply
        if step.forgotten:
            return _Arrival(now, reply)
        self._proxy.seen(step)
        if step.refused:
            return _Arrival(now, reply)
        point = self._proxy.breakpoint_at(step, "answered")
        return _Arrival(now, reply, point, lost=point is None and self._proxy.loses(step))

    async def _deliver(self) -> None:
        """Give the client what arrives; after a loss nothing, for it would take the next reply for the lost one."""
        to_client = self._ends.to_client
        silenced = False
        while arrival := await self._arrived.get():
            verdict = await arrival.point.verdict() if arrival.point else StepVerdict.RELEASE
            if verdict is StepVerdict.CUT:
                break
            silenced = silenced or arrival.lost or verdict is StepVerdict.DROP
            if silenced:
                continue
            await self._proxy.reply_passes(arrival.at)
            with suppress(OSError):  # _ask sees that the client is gone; what was asked is still to be seen
                to_client.write(arrival.answer)
                await to_client.drain()
        to_client.transport.abort()


def _command_from(reader: Reader) -> list[bytes] | None:
    """The next whole command; None while there is none. Raises ConnectionError for what is no array of strings."""
    try:
        command: Any = reader.gets()
    except ProtocolError as error:
        raise ConnectionError(f"no command: {error}") from None
    if command is False:
        return None
    if not isinstance(command, list) or set(map(type, command)) != {bytes}:
        raise ConnectionError(f"no command: {command!r:.100}")
    return command


def _sha(text: bytes) -> bytes:
    return sha1(text, usedforsecurity=False).hexdigest().encode()
