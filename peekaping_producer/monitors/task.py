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
"""Told what is odd about one monitor: its id, the kind of anomaly (a dotted event name), and a sentence."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class HealthCheckTask(msgspec.Struct, frozen=True, gc=False):
    """What a broker hands to the workers. Seconds, and the payload as JSON bytes."""

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
    """Field order is the wire's."""

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
    """Builds the task of each monitor. An anomaly never stops a monitor: it is reported, and the monitor runs.

    A monitor for which no task can be built is reported (`monitor.unbuildable`), and the others are built.
    """

    def __init__(self, *, server_zone: str, report: Report) -> None:
        """`server_zone`: the zone that windows in "the server's zone" mean (setting TZ)."""
        self._server_zone = server_zone
        self._report = report
        self._encode = msgspec.json.Encoder().encode

    def build(self, checks: list[MonitorDetails], now_ms: int) -> list[HealthCheckTask]:
        """The tasks of `checks`, scheduled at `now_ms` (Redis TIME of the claim), without those that were reported."""
        tasks = []
        for check in checks:
            try:
                tasks.append(self._task(check, now_ms))
            except Exception as error:  # rows hold anything; its text might quote one
                self._report(check.monitor.id, "monitor.unbuildable", f"No task can be built: {type(error).__name__}.")
        return tasks

    def _task(self, check: MonitorDetails, now_ms: int) -> HealthCheckTask:
        monitor = check.monitor
        if check.dangling_proxy_id is not None:
            self._report(monitor.id, "monitor.dangling_proxy", f"Proxy {check.dangling_proxy_id!r} does not exist.")
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
            check.proxy or UNSET,
            _heartbeat_payload(check.latest_heartbeat) if check.latest_heartbeat else UNSET,
            _scheduled_at(now_ms),
            bool(check.windows) and self._under_maintenance(check, now_ms),
            self._checks_cert_expiry(monitor),
        )
        return HealthCheckTask(monitor.id, monitor.interval, monitor.timeout, self._encode(payload))

    def _under_maintenance(self, check: MonitorDetails, now_ms: int) -> bool:
        return under_maintenance(
            check.windows,
            now_ms,
            self._server_zone,
            lambda _window, error: self._report(check.monitor.id, "monitor.bad_maintenance", str(error)),
        )

    def _checks_cert_expiry(self, monitor: Monitor) -> bool:
        try:
            return checks_cert_expiry(monitor.type, monitor.config)
        except ValueError as error:
            self._report(monitor.id, "monitor.bad_config", f"Its config is not usable JSON: {error}.")
            return False


@lru_cache(maxsize=8)
def _scheduled_at(now_ms: int) -> str:
    return rfc3339(_EPOCH + timedelta(milliseconds=now_ms))


def rfc3339(moment: datetime) -> str:
    """An aware UTC time as Go prints it: up to microseconds, zeros at the end of the fraction trimmed."""
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
    """Whether the check is to look at the certificate: for http… and tcp monitors whose config says so.

    Raises ValueError where the config cannot be read; the message never quotes it.
    """
    return bool(config) and _may_have_certificate(monitor_type) and certificate_flag.read(config)


def _may_have_certificate(monitor_type: str) -> bool:
    return monitor_type[:4].lower() in {"http", "tcp"}
