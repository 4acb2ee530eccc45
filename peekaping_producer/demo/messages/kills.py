"""Kills commands one after another, and starts each again."""

from collections.abc import Callable, Sequence

from peekaping_producer.demo.command import Command

_BACK_AFTER_S = 1.0


class Kills:
    """Times are in seconds since the first message arrived."""

    def __init__(self, plan: Sequence[tuple[float, Command]], announce: Callable[[str], None]) -> None:
        """`plan`: when each command is killed, in order, more than 1 s apart."""
        self.names: list[str] = []
        """What was killed."""
        self._plan = list(plan)
        self._down: Command | None = None
        self._back_at = 0.0
        self._announce = announce

    async def step(self, elapsed: float) -> None:
        """Kill or start a command if it is time to."""
        if self._down:
            if elapsed >= self._back_at:
                self.start_again()
        elif self._plan and elapsed >= self._plan[0][0]:
            _, command = self._plan.pop(0)
            self._announce(f"killing {command.name} (SIGKILL, pid {command.pid}) after {elapsed:.1f} s")
            await command.stop(kill=True)
            self.names.append(command.name)
            self._down, self._back_at = command, elapsed + _BACK_AFTER_S

    def start_again(self) -> None:
        """Start the command that is down, if there is one."""
        if self._down:
            self._down.start()
            self._announce(f"{self._down.name} started again (pid {self._down.pid})")
            self._down = None

    @property
    def are_complete(self) -> bool:
        """Whether all commands of the plan were killed and started again."""
        return not (self._plan or self._down)
