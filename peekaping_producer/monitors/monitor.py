"""Monitors and their plans: frozen structs and pure functions, no I/O."""

from datetime import datetime

import msgspec

from peekaping_producer.monitors.maintenance import MaintenanceWindow


class Proxy(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A proxy for a check, in the form of the payload: an empty user or password is omitted."""

    id: str
    protocol: str
    host: str
    port: int
    auth: bool
    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"Proxy({self.id!r})"  # reprs appear in tracebacks, and the rest is secret


class Heartbeat(msgspec.Struct, frozen=True, gc=False):
    """The latest result of a push monitor. Times are aware and in UTC; field order is the payload's."""

    id: str
    monitor_id: str
    status: int
    msg: str
    ping: int
    duration: int
    down_count: int
    retries: int
    important: bool
    time: datetime
    end_time: datetime
    notified: bool

    def __repr__(self) -> str:
        return f"Heartbeat({self.id!r})"


class RecentHeartbeat(msgspec.Struct, frozen=True, gc=False):
    """The result of one check, as far as a person needs it. The time is aware and in UTC; `ping` is in ms."""

    time: datetime
    status: int
    ping: int


class Monitor(msgspec.Struct, frozen=True, gc=False):
    """One row of `monitors`. Intervals and timeouts are in seconds; `config` is JSON text, not parsed."""

    id: str
    name: str
    type: str
    interval: int
    timeout: int
    max_retries: int
    retry_interval: int
    resend_interval: int
    active: bool
    config: str

    def __repr__(self) -> str:
        return f"Monitor({self.id!r})"

    @property
    def runs(self) -> bool:
        """Whether this monitor belongs in the schedule."""
        return self.active and self.interval > 0


class MonitorDetails(msgspec.Struct, frozen=True):
    """A monitor with everything that its task needs, from one load."""

    monitor: Monitor
    proxy: Proxy | None = None
    windows: tuple[MaintenanceWindow, ...] = ()
    latest_heartbeat: Heartbeat | None = None
    dangling_proxy_id: str | None = None
    """A proxy id of the monitor that is not in the database; the monitor runs without a proxy."""
    problems: tuple[tuple[str, str], ...] = ()
    """Rows that cannot be used; the monitor runs without them. Each is the kind of an anomaly and the reason."""


class Plan(msgspec.Struct, frozen=True, gc=False):
    """The interval of a monitor in seconds: all that the schedule needs. 0 or less: it does not run."""

    id: str
    interval: int
    problem: str = ""
    """Why an active monitor cannot be scheduled (`interval` is 0 then), without secrets."""
