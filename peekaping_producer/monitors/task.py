"""The health-check task: built from a MonitorDetails, encoded to the JSON that Peekaping's workers read."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import msgspec
from msgspec import UNSET, UnsetType

from peekaping_producer.monitors import certificate_flag
from peekaping_producer.monitors.maintenance import under_maintenance
from peekaping_producer.monitors.monitor import Heartbeat, Monitor, MonitorDetails, Proxy

Report = Callable[[str, str, str], None]
"""Receives an anomaly of one monitor: its id, the kind (a dotted event name), and a sentence."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class HealthCheckTask(msgspec.Struct, frozen=True, gc=False):
    """What a broker enqueues. `interval` and `timeout` are in seconds; the payload is JSON."""

    monitor_id: str
    interval: int
    timeout: int
    payload: bytes

    def __repr__(self) -> str:
        return f"HealthCheckTask({self.monitor_id!r})"


class _HeartbeatPayload(msgspec.Struct, frozen=True, gc=False):
    id: str
    monitor_id: str
    status: int
    msg: str
    ping: int
    duration: int
    down_count: int
    retries: int
    important: bool
    time: str
    end_time: str
    notified: bool


class _Payload(msgspec.Struct, frozen=True, gc=False):
    """In the field order of the JSON."""

    monitor_id: str
    monitor_name: str
    monitor_type: str
    interval: int
    timeout: int
    max_retries: int
    retry_interval: int
    resend_interval: int
    config: str
    proxy: Proxy | UnsetType
    last_heartbeat: _HeartbeatPayload | UnsetType
    scheduled_at: str
    is_under_maintenance: bool
    check_cert_expiry: bool


class TaskBuilder:
    """Builds the task of each monitor. An anomaly is reported and does not stop the monitor.

    A monitor for which no task can be built is reported (`monitor.unbuildable`), and the others are built.
    """

    def __init__(self, *, server_zone: str, report: Report) -> None:
        """`server_zone`: the zone of windows in "the server's zone" (setting TZ)."""
        self._server_zone = server_zone
        self._report = report
        self._encode = msgspec.json.Encoder().encode

    def build(self, details: list[MonitorDetails], now_ms: int) -> list[HealthCheckTask]:
        """Return the tasks of `details`, scheduled at `now_ms` (Redis TIME of the claim), but for those reported."""
        tasks = []
        for each in details:
            try:
                tasks.append(self._task(each, now_ms))
            except Exception as error:  # a row may hold anything, and the text may quote it
                self._report(each.monitor.id, "monitor.unbuildable", f"No task can be built: {type(error).__name__}.")
        return tasks

    def _task(self, details: MonitorDetails, now_ms: int) -> HealthCheckTask:
        monitor = details.monitor
        for kind, reason in details.problems:
            self._report(monitor.id, kind, reason)
        if details.dangling_proxy_id is not None:
            self._report(monitor.id, "monitor.dangling_proxy", f"Proxy {details.dangling_proxy_id!r} does not exist.")
        payload = _Payload(
            monitor.id,
            monitor.name,
            monitor.type,
            monitor.interval,
            monitor.timeout,
            monitor.max_retries,
            monitor.retry_interval,
            monitor.resend_interval,
            monitor.config,
            details.proxy or UNSET,
            _heartbeat_payload(details.latest_heartbeat) if details.latest_heartbeat else UNSET,
            _scheduled_at(now_ms),
            bool(details.windows) and self._under_maintenance(details, now_ms),
            self._checks_cert_expiry(monitor),
        )
        return HealthCheckTask(monitor.id, monitor.interval, monitor.timeout, self._encode(payload))

    def _under_maintenance(self, details: MonitorDetails, now_ms: int) -> bool:
        return under_maintenance(
            details.windows,
            now_ms,
            self._server_zone,
            lambda _window, error: self._report(details.monitor.id, "monitor.bad_maintenance", str(error)),
        )

    def _checks_cert_expiry(self, monitor: Monitor) -> bool:
        try:
            return checks_cert_expiry(monitor.type, monitor.config)
        except ValueError as error:
            self._report(monitor.id, "monitor.bad_config", f"Its config cannot be read: {error}.")
            return False


@lru_cache(maxsize=8)
def _scheduled_at(now_ms: int) -> str:
    return rfc3339(_EPOCH + timedelta(milliseconds=now_ms))


def rfc3339(moment: datetime) -> str:
    """Format an aware UTC time as Go does: up to microseconds, without trailing zeros in the fraction."""
    text = moment.isoformat().removesuffix("+00:00")
    if "." in text:
        text = text.rstrip("0")
    return text + "Z"


def _heartbeat_payload(beat: Heartbeat) -> _HeartbeatPayload:
    return _HeartbeatPayload(
        beat.id,
        beat.monitor_id,
        beat.status,
        beat.msg,
        beat.ping,
        beat.duration,
        beat.down_count,
        beat.retries,
        beat.important,
        rfc3339(beat.time),
        rfc3339(beat.end_time),
        beat.notified,
    )


def checks_cert_expiry(monitor_type: str, config: str) -> bool:
    """Whether the check includes the certificate: for http… and tcp monitors with the flag in their config.

    Raises ValueError if the config cannot be read; the message never quotes it.
    """
    return bool(config) and _may_have_certificate(monitor_type) and certificate_flag.read(config)


def _may_have_certificate(monitor_type: str) -> bool:
    return monitor_type[:4].lower() in {"http", "tcp"}
