"""Whether a Go producer takes part in the schedule: it ignores a hold on all monitors."""

from collections import Counter
from collections.abc import Iterable, Mapping

from peekaping_producer.operations.look import Look
from peekaping_producer.schedule import Member, Stats, number_of
from peekaping_producer.service.text import counted, one_line


def signs_of_go_producer(stats: Stats, leases: Iterable[Member] = ()) -> list[str]:
    """Return what suggests one, each as a clause; nothing if it only waits. `leases`: some members of the set lease."""
    signs = []
    if stats.leader is not None and "/" not in stats.leader:
        signs.append(f"{one_line(stats.leader, 60)} leads without a term")
    if claims := claims_of_go_producer(leases, Look(stats)):
        signs.append(f"{counted(sum(claims.values()), 'monitor')} claimed with a token that is a whole number")
    return signs


def claims_of_go_producer(leases: Iterable[Member], look: Look) -> Mapping[float, int]:
    """Return the number of monitors by token, for tokens that are whole numbers.

    Those in a heartbeat are of a replica: the version before this one may have claimed with a whole number.
    """
    beats = [*look.heartbeats.values(), *(beat for _, beat in look.silent.values())]
    ours = {number_of(claim.token) for beat in beats for claim in beat.claims}
    tokens = (number_of(lease.score) for lease in leases)
    return Counter(token for token in tokens if token and token % 1 == 0 and token not in ours)
