"""Times as text: absolute, in one zone, and relative to one instant."""

from datetime import UTC, datetime, timedelta, tzinfo

import msgspec

from peekaping_producer.service.text import duration

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parsed_ms(iso: str | None) -> int | None:
    """Return the time that `Moments.iso` has written, in ms since the Unix epoch."""
    return None if iso is None else (datetime.fromisoformat(iso) - _EPOCH) // timedelta(milliseconds=1)


class Moments(msgspec.Struct, frozen=True):
    """Formats times in ms since the Unix epoch."""

    now_ms: int
    zone: tzinfo | None = UTC
    """None: the zone of this process."""

    def clock(self, at_ms: float) -> str:
        """Return the time of day; with the date if that is another one than today's."""
        at, today = self._local(at_ms), self._local(self.now_ms)
        if at is None or today is None:
            return "a time out of range"
        return f"{at:%H:%M:%S}" if at.date() == today.date() else f"{at:%Y-%m-%d %H:%M:%S}"

    def at(self, at_ms: float) -> str:
        """Return the time of day and its distance from now: `03:11:00 (in 40.8 s)`."""
        left_s = (at_ms - self.now_ms) / 1000
        away = f"in {duration(left_s)}" if left_s >= 0 else f"{duration(-left_s)} ago"
        return f"{self.clock(at_ms)} ({away})"

    def iso(self, at_ms: float | None) -> str | None:
        """Return the instant in UTC, for JSON."""
        if at_ms is None:
            return None
        try:
            moment = _EPOCH + timedelta(milliseconds=int(at_ms))
        except OverflowError:
            return None
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def name_of_zone(self) -> str:
        """Return the zone's name."""
        at = self._local(self.now_ms)
        return at.tzname() or "local time" if at else "UTC"

    def _local(self, at_ms: float) -> datetime | None:
        try:
            return (_EPOCH + timedelta(milliseconds=int(at_ms))).astimezone(self.zone)
        except (OverflowError, ValueError):
            return None
