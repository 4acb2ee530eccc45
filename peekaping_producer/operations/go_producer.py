"""Whether a Go producer takes part in the schedule: it ignores a hold on all monitors."""

from collections.abc import Iterable

from peekaping_producer.schedule import Member, Stats, number_of
from peekaping_producer.service.text import counted, one_line


def signs_of_go_producer(stats: Stats, leases: Iterable[Member] = ()) -> list[str]:
    """Return what suggests one, each as a clause; nothing if it only waits. `leases`: some members of the set lease."""
    signs = []
    if stats.leader is not None and "/" not in stats.leader:
        signs.append(f"{one_line(stats.leader, 60)} leads without a term")
    whole = sum((number_of(lease.score) or 0.5) % 1 == 0 for lease in leases)
    if whole:
        signs.append(f"{counted(whole, 'monitor')} claimed with a token that is a whole number")
    return signs
