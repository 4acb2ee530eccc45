"""The failover of the demo: kill the leading replica, wait for the next leader, start the killed one again."""

from collections.abc import Callable, Sequence

from peekaping_producer.demo.monitors.replica import Replica

MAX_FAILOVER_S = 12.0
"""The leader's TTL of 10 s, 1 s between two campaigns of a follower, and 1 s for a slow machine."""
_RESTART_AFTER_S = 2.0


class Failover:
    """Times are in seconds since the first leader."""

    def __init__(self, replicas: Sequence[Replica], announce: Callable[[str], None], *, kill_at: float | None) -> None:
        """`kill_at`: None for no failover."""
        self.planned = kill_at is not None
        self.killed_at_ms: int | None = None
        """Redis TIME."""
        self.took_s: float | None = None
        self._kill_at = kill_at if kill_at is not None else float("inf")
        self._killed_at = 0.0
        self._killed: Replica | None = None
        self._replicas = replicas
        self._announce = announce

    @property
    def lasts(self) -> bool:
        """Whether the leader was killed, and no other replica leads yet."""
        return self._killed is not None and self.took_s is None

    async def step(self, elapsed: float, now_ms: int, term: str | None) -> None:
        """Kill or restart a replica if it is time to; `term` is the one that leads, None for none."""
        leader = leading(self._replicas, term)
        if self._killed is None:
            if leader and elapsed >= self._kill_at:
                self._killed, self._killed_at, self.killed_at_ms = leader, elapsed, now_ms
                self._announce(f"killing the leader, {leader.name} (SIGKILL, pid {leader.pid}), after {elapsed:.1f} s")
                await leader.stop(kill=True)
        elif self.took_s is None:
            if leader:
                self.took_s = elapsed - self._killed_at
                self._announce(
                    f"leader killed at {self._killed_at:.1f} s → new leader {leader.name} after {self.took_s:.1f} s"
                )
        elif self._killed.pid is None and elapsed >= self._killed_at + self.took_s + _RESTART_AFTER_S:
            self._killed.start()
            self._announce(f"{self._killed.name} started again (pid {self._killed.pid}) as a follower")


def leading(replicas: Sequence[Replica], term: str | None) -> Replica | None:
    """Return the running replica whose term this is, None if there is none."""
    return next((replica for replica in replicas if replica.leads(term)), None)
