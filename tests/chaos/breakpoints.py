"""Breakpoints: each holds one step of a producer on its way to Redis or back."""

import asyncio
from enum import Enum
from typing import Literal

from tests.chaos.steps import Step

At = Literal["asked", "answered"]


class StepVerdict(Enum):
    """What happens to the step that a breakpoint holds, and to its connection."""

    RELEASE = "goes on"
    DROP = "lost, and all that follows on this connection"
    CUT = "lost, and the connection ends"


class Breakpoint:
    """Holds one step: `asked`, before the server has it, or `answered`, after it has run."""

    def __init__(self, script: str, at: At) -> None:
        self.script = script
        self.at = at
        self._step: asyncio.Future[Step] = asyncio.get_running_loop().create_future()
        self._verdict: asyncio.Future[StepVerdict] = asyncio.get_running_loop().create_future()

    @property
    def was_hit(self) -> bool:
        """Whether it holds a step, or held one."""
        return self._step.done() and not self._step.cancelled()

    @property
    def armed(self) -> bool:
        """Whether it still waits for a step."""
        return not self._step.done()

    async def hit(self, timeout_s: float) -> Step:
        """Wait for a step and return it. Raises TimeoutError; the breakpoint then stays armed."""
        done, _ = await asyncio.wait([self._step], timeout=timeout_s)
        if not done or self._step.cancelled():
            state = "disarmed" if done else f"not within {timeout_s:g} s"
            raise TimeoutError(f"no {self.script} was {self.at}: {state}")
        return self._step.result()

    def release(self) -> None:
        """Let it go on. A command reaches the server even if the client has gone."""
        self._decide(StepVerdict.RELEASE)

    def drop(self) -> None:
        """Lose it: the command never reaches the server, or the reply never the client. The connection stays open."""
        self._decide(StepVerdict.DROP)

    def cut(self) -> None:
        """Lose it, and end its connection."""
        self._decide(StepVerdict.CUT)

    def disarm(self) -> bool:
        """Accept no step any more; False where it holds one, which waits for a verdict."""
        return self._step.cancel()

    def hits(self, step: Step, at: At) -> bool:
        """Hold `step` if it is the one that this breakpoint waits for."""
        if not self.armed or (self.script, self.at) != (step.script, at):
            return False
        self._step.set_result(step)
        return True

    async def verdict(self) -> StepVerdict:
        """Wait for the verdict. A connection that ends meanwhile cancels the wait."""
        return await self._verdict

    def _decide(self, verdict: StepVerdict) -> None:
        if not self.was_hit:
            raise RuntimeError(f"the breakpoint for {self.script} ({self.at}) holds nothing")
        if not self._verdict.done():  # cancelled with the connection, by a cut or a client that died
            self._verdict.set_result(verdict)


class Losses:
    """Counts replies of one script that never arrive."""

    def __init__(self, script: str, times: int) -> None:
        self.script = script
        self.left = times
        self.lost = 0

    def stop(self) -> None:
        """Lose no more."""
        self.left = 0

    def takes(self, step: Step) -> bool:
        """Whether the reply to `step` gets lost now."""
        if self.left <= 0 or self.script != step.script:
            return False
        self.left -= 1
        self.lost += 1
        return True
