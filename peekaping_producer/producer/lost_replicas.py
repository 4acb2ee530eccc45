"""Reports the replicas that stopped reporting without a normal shutdown: one event of the leader for each."""

import structlog

from peekaping_producer.operations.look import Look
from peekaping_producer.producer.event_recorder import EventRecorder
from peekaping_producer.service.text import clock_time

log = structlog.stdlib.get_logger()


class LostReplicas:
    """A replica that shuts down normally removes its report; one that was killed, or froze, leaves it for a minute."""

    def __init__(self, recorder: EventRecorder) -> None:
        self._recorder = recorder
        self._known: set[str] = set()
        """Silent nodes that this replica, or the leader at that time, has reported."""

    def update(self, look: Look, *, leads: bool) -> None:
        """Report the nodes that are silent now and were not before."""
        leader = (look.stats and look.stats.leader) or ""
        for node in look.silent.keys() - self._known:
            if leads:
                report, _ = look.silent[node]
                since = clock_time(report.at_ms, look.now_ms)
                message = f"{look.full_name(node)} has not reported since {since}, and did not shut down normally."
                log.warning("replica.silent", message=message, node=node)
                self._recorder.record("replica.silent", message)
            elif not leader or leader.startswith(f"{node}/"):
                continue  # the next leader reports it
            self._known.add(node)
        self._known &= look.silent.keys()
