"""Starts everything, watches it, kills the relay and the API, stops, and prints a summary."""

import asyncio
import time

from peekaping_producer.demo.messages.clients import ApiClients
from peekaping_producer.demo.messages.environment import Environment, open_environment
from peekaping_producer.demo.messages.kills import Kills
from peekaping_producer.demo.messages.lines import LineWriter
from peekaping_producer.demo.messages.snapshot import snapshot_of
from peekaping_producer.demo.messages.tally import Tally
from peekaping_producer.demo.session import run_session
from peekaping_producer.demo.view import GuardedView
from peekaping_producer.errors import UnreachableError
from peekaping_producer.service.aio import cancel_and_wait, wait_for_event
from peekaping_producer.settings import Settings

_MAX_RUN_S = 3600
"""The ids of all messages are kept."""
_POLL_EVERY_S = 0.1
_ARRIVES_WITHIN_S = 30.0
_KILLED_WITHIN_S = 30.0
"""After the time is over: a slow machine may not have killed both by then."""
_DRAIN_WITHIN_S = 30.0
_PROCESSING_TIME_S = 0.02


async def run_demo(seconds: float, *, redis: Settings | None = None) -> int:
    """Run the demo for `seconds`, or until it is stopped: see run_session.

    Returns the exit code: 1 if a line or message is lost, or the output is not equal to the input; else 0.
    Raises ProducerError.
    """
    return await run_session(
        seconds,
        open_environment(redis),
        lambda environment, view: MessagesRun(environment, seconds, view),
        max_seconds=_MAX_RUN_S,
    )


class MessagesRun:
    """See DemoRun."""

    def __init__(self, environment: Environment, seconds: float, view: GuardedView) -> None:
        self._environment = environment
        self._seconds = seconds
        self._view = view
        self._writer = LineWriter(environment.input)
        self._clients = ApiClients(environment.port, processing_time=_PROCESSING_TIME_S)
        self._tally = Tally(
            self._writer,
            self._clients,
            sent=environment.input,
            output=environment.output,
            handled=environment.handled,
        )
        plan = [(seconds / 3, environment.relay), (seconds * 2 / 3, environment.api)]
        self._kills = Kills(plan, view.announce)
        self._ran_s = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until the time is over or `stop` is set; then wait until all has arrived, and stop the commands."""
        writing = asyncio.create_task(self._writer.run(), name="lines")
        calling = asyncio.create_task(self._clients.run(), name="clients")
        try:
            await self._watch(stop, writing, calling)
            self._kills.start_again()
            await cancel_and_wait(writing)
            self._clients.finish()
            await self._until_all_arrived(calling)
        finally:
            await cancel_and_wait(writing, calling)
        await asyncio.gather(*(command.stop() for command in self._environment.commands))
        self._tally.read()

    async def _watch(self, stop: asyncio.Event, *senders: asyncio.Task[None]) -> None:
        self._introduce()
        opened = time.monotonic()
        arrived_at: float | None = None  # time 0 is when both systems work
        while not stop.is_set() and not self._is_over:
            self._look()
            now = time.monotonic()
            if arrived_at is None and self._tally.arrived and self._tally.handled:
                arrived_at = now
                self._clients.repeated = 0  # those before the API listened
            if arrived_at is not None:
                self._ran_s = now - arrived_at
                await self._kills.step(self._ran_s)
            elif now - opened > _ARRIVES_WITHIN_S:
                raise UnreachableError(f"no line or no message arrived within {_ARRIVES_WITHIN_S:g} s")
            for sender in senders:
                if sender.done():
                    sender.result()
            await wait_for_event(stop, _POLL_EVERY_S)

    @property
    def _is_over(self) -> bool:
        return self._ran_s >= self._seconds + (0.0 if self._kills.are_complete else _KILLED_WITHIN_S)

    async def _until_all_arrived(self, calling: asyncio.Task[None]) -> None:
        deadline = time.monotonic() + _DRAIN_WITHIN_S
        while time.monotonic() < deadline:
            self._look()
            if calling.done():
                calling.result()
                if self._tally.is_complete:
                    return
            await asyncio.sleep(_POLL_EVERY_S)

    def _look(self) -> None:
        self._tally.read()
        commands = self._environment.commands
        self._view.show(snapshot_of(self._tally, commands, elapsed_s=self._ran_s, seconds=self._seconds))
        for command in commands:
            command.check_alive()

    def _introduce(self) -> None:
        names = ", ".join(f"{command.name} (pid {command.pid})" for command in self._environment.commands)
        self._view.announce(f"{names}; ends after {self._seconds:g} s or with Ctrl-C")
        self._view.announce(self._environment.redis_text)

    @property
    def passed(self) -> bool:
        """Whether all arrived and the files are equal; after a complete run also: both kills happened."""
        return self._tally.passed and (self._kills.are_complete or self._ran_s < self._seconds)

    def summary(self) -> str:
        """Return the result in a few lines."""
        tally, killed = self._tally, " and ".join(self._kills.names) or "nothing"
        equal = "is byte-equal to" if tally.equal and tally.arrived == tally.written else "DIFFERS from"
        return "\n".join(
            (
                f"Ran {self._ran_s:.1f} s. Killed and started again: {killed}.",
                f"Lines: {tally.written:,} written, {tally.arrived:,} arrived; output.txt {equal} input.txt.",
                f"Messages: {tally.accepted:,} accepted, {tally.handled:,} handled, {tally.doubled:,} doubled, "
                f"{tally.lost:,} lost; {tally.repeated:,} attempts failed and were repeated.",
            )
        )
