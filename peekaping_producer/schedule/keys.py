"""The schedule's keys in Redis: those of upstream, so that Go producers can share them, and our own."""

import msgspec


class Keys(msgspec.Struct, frozen=True):
    """The names of one schedule's keys: upstream's, or with `{tag}:` before each.

    All keys of one tag are in the same hash slot, so that a Redis Cluster can hold the schedule. asynq's keys do not
    contain the tag.
    """

    tag: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError for a tag that would not determine the slot."""
        if set(self.tag) & set("{}"):
            raise ValueError(f"tag: expected text without braces, got {self.tag!r}")

    def _named(self, name: str) -> str:
        return f"{{{self.tag}}}:{name}" if self.tag else name

    @property
    def due(self) -> str:
        """ZSET: monitor id, next due time in ms."""
        return self._named("peekaping:sched:due")

    @property
    def lease(self) -> str:
        """ZSET: monitor id, lease end in ms plus nonce/1024, which is the claim's token."""
        return self._named("peekaping:sched:lease")

    @property
    def leader(self) -> str:
        """String with a TTL: the term of the replica that leads."""
        return self._named("peekaping:producer:leader")

    @property
    def late(self) -> str:
        """ZSET: monitor id, intended due time in ms; of monitors claimed but not yet handed off. Ours."""
        return self._named("peekaping:sched:late")

    @property
    def replicas(self) -> str:
        """HASH: node, its latest report as JSON after the time of writing. Ours."""
        return self._named("peekaping:producer:replicas")

    @property
    def events(self) -> str:
        """STREAM of fleet events, about the latest 1,000; each has one field, `event`, of JSON. Ours."""
        return self._named("peekaping:producer:events")

    @property
    def held(self) -> str:
        """HASH: monitor id, or `*` for all, the hold on it as JSON. Ours."""
        return self._named("peekaping:sched:held")

    @property
    def sync_requested(self) -> str:
        """String with a TTL: who asks the leader to sync now, and when, as JSON. Ours."""
        return self._named("peekaping:sched:sync_requested")

    @property
    def spread(self) -> str:
        """String: present while ticks are spread; since when in ms, and the term that turned it on. Ours."""
        return self._named("peekaping:sched:spread")

    @property
    def watched(self) -> str:
        """String with a TTL: present while a page is open, so that replicas report every second. Ours."""
        return self._named("peekaping:producer:watched")

    @property
    def probe(self) -> str:
        """String with a TTL of one second: whether Redis accepts writes. Ours."""
        return self._named("peekaping:producer:probe")


KEYS = Keys()
"""Upstream's names."""
