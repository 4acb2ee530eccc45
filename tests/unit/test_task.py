"""The task's payload, equal to what the Go producer writes."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from peekaping_producer.brokers.asynq import encode_message
from peekaping_producer.monitors.maintenance import MaintenanceWindow
from peekaping_producer.monitors.monitor import Heartbeat, Monitor, MonitorDetails, Proxy
from peekaping_producer.monitors.task import HealthCheckTask, TaskBuilder, checks_cert_expiry
from tests.kit.asynq_peer import decode
from tests.kit.vectors import vectors

VECTORS = vectors("payload_json")

Reports = list[tuple[str, str, str]]


@pytest.fixture
def reports() -> Reports:
    return []


@pytest.fixture
def builder(reports: Reports) -> TaskBuilder:
    return TaskBuilder(server_zone="UTC", report=lambda *report: reports.append(report))


def heartbeat(fields: dict[str, Any]) -> Heartbeat:
    values = dict(fields)
    for name in ("time", "end_time"):
        values[name] = datetime.fromisoformat(values[name])
    return Heartbeat(**values)


def check_of(fields: dict[str, Any]) -> MonitorDetails:
    window = MaintenanceWindow(id="w", active=True, strategy="manual")
    return MonitorDetails(
        Monitor(
            fields["MonitorID"],
            fields["MonitorName"],
            fields["MonitorType"],
            fields["Interval"],
            fields["Timeout"],
            fields["MaxRetries"],
            fields["RetryInterval"],
            fields["ResendInterval"],
            True,
            fields["Config"],
        ),
        Proxy(
            **{
                name: value or None if name in ("username", "password") else value
                for name, value in fields["Proxy"].items()
            }
        )
        if fields["Proxy"]
        else None,
        (window,) if fields["IsUnderMaintenance"] else (),
        heartbeat(fields["LastHeartbeat"]) if fields["LastHeartbeat"] else None,
    )


def is_representable(vector: dict[str, Any]) -> bool:
    """Whether a database row can contain it: text is valid UTF-8, and times have microseconds."""
    beat = vector["fields"]["LastHeartbeat"]
    nanoseconds = beat and any(len(beat[name].partition(".")[2].rstrip("Z")) > 6 for name in ("time", "end_time"))
    return "name_b64" not in vector and not nanoseconds


@pytest.mark.parametrize("vector", [each for each in VECTORS if is_representable(each)])
def test_payload_equals_golden(builder: TaskBuilder, vector: dict[str, Any]) -> None:
    (task,) = builder.build([check_of(vector["fields"])], vector["now_ms"])
    ours, golden = json.loads(task.payload), json.loads(vector["payload"])
    assert ours.pop("check_cert_expiry") is vector["derived_check_cert_expiry"]
    golden.pop("check_cert_expiry")
    assert ours == golden
    assert list(ours) == list(golden)
    assert json.dumps(ours) == json.dumps(golden)  # and in their JSON types: 1 is not 1.0 nor true


def test_most_golden_payloads_are_compared() -> None:
    assert sum(map(is_representable, VECTORS)) >= len(VECTORS) - 12


@pytest.mark.parametrize("vector", VECTORS)
def test_certificate_flag_equals_golden(vector: dict[str, Any]) -> None:
    fields = vector["fields"]
    if vector.get("check_cert_expiry_parse_error"):
        with pytest.raises(ValueError, match=r".+"):
            checks_cert_expiry(fields["MonitorType"], fields["Config"])
    else:
        assert checks_cert_expiry(fields["MonitorType"], fields["Config"]) is vector["derived_check_cert_expiry"]


@pytest.mark.parametrize(
    ("monitor_type", "flag"),
    [
        *(("http", True), ("HTTP-keyword", True), ("https", True), ("tcp", True), ("TCP", True)),
        *(("dns", False), ("tcp2", False), ("htt", False), ("", False), ("\ud800", False), ("ping" * 1_000_000, False)),
    ],
    ids=lambda value: str(value)[:12].encode("ascii", "replace").decode(),
)
def test_the_certificate_flag_is_for_http_and_tcp(monitor_type: str, flag: bool) -> None:
    assert checks_cert_expiry(monitor_type, '{"check_cert_expiry": true}') is flag
    assert checks_cert_expiry(monitor_type, "") is False


@pytest.mark.parametrize(
    "config", ["{", "[]", "7", '"x"', '{"check_cert_expiry": 1}', '{"a": NaN}', "[" * 1_000_000, '{"a": 1} x', "\0"]
)
def test_a_broken_config_is_reported_without_its_text_and_the_monitor_runs(
    builder: TaskBuilder, reports: Reports, config: str
) -> None:
    monitor = Monitor("m1", "n", "http", 60, 16, 0, 60, 0, True, config)
    (task,) = builder.build([MonitorDetails(monitor)], 0)
    payload = json.loads(task.payload)
    assert (payload["config"], payload["check_cert_expiry"]) == (config, False)
    ((monitor_id, kind, _),) = reports
    assert (monitor_id, kind) == ("m1", "monitor.bad_config")


def test_a_deep_config_is_not_an_anomaly(builder: TaskBuilder, reports: Reports) -> None:
    config = '{"url": "http://x.example", "check_cert_expiry": true, "a": ' + "[" * 1200 + "]" * 1200 + "}"
    (task,) = builder.build([MonitorDetails(Monitor("m1", "n", "http", 60, 16, 0, 60, 0, True, config))], 0)
    assert b'"check_cert_expiry":true}' in task.payload
    assert reports == []


NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
BEAT = Heartbeat("h", "m2", 1, "", 1, 0, 0, 0, False, NOON, NOON, False)
UNBUILDABLE = {
    "half a character in the name": {"name": "\ud800 secret"},
    "half a character in the config": {"config": '{"a": "\ud800 secret"}'},
    "half a character in the id": {"id": "\ud800 secret"},
    "no text": {"name": object()},
    "no type": {"type": None},
}


@pytest.mark.parametrize("fields", UNBUILDABLE.values(), ids=UNBUILDABLE)
def test_an_unbuildable_monitor_is_reported_and_the_others_are_built(
    builder: TaskBuilder, reports: Reports, fields: dict[str, Any]
) -> None:
    checks = [MonitorDetails(Monitor(f"m{n}", "n", "http", 60, 16, 0, 60, 0, True, "{}")) for n in range(3)]
    checks[1] = MonitorDetails(msgspec.structs.replace(checks[1].monitor, **fields))
    tasks = builder.build(checks, 0)
    assert [task.monitor_id for task in tasks] == ["m0", "m2"]
    ((monitor_id, kind, reason),) = [report for report in reports if report[1] != "monitor.bad_config"]
    assert (monitor_id, kind) == (checks[1].monitor.id, "monitor.unbuildable")
    assert "secret" not in repr([report[1:] for report in reports])
    assert reason.endswith("Error.")


def test_a_heartbeat_that_cannot_be_encoded_affects_its_monitor_only(builder: TaskBuilder, reports: Reports) -> None:
    broken = msgspec.structs.replace(BEAT, msg="\ud800"), msgspec.structs.replace(BEAT, time=None)
    monitor = Monitor("m1", "n", "push", 60, 16, 0, 60, 0, True, "{}")
    tasks = builder.build([MonitorDetails(monitor, latest_heartbeat=beat) for beat in (*broken, BEAT)], 0)
    assert len(tasks) == 1
    assert [kind for _, kind, _ in reports] == ["monitor.unbuildable"] * 2


def test_a_time_beyond_the_calendar_is_reported(builder: TaskBuilder, reports: Reports) -> None:
    assert builder.build([MonitorDetails(Monitor("m1", "n", "ping", 60, 16, 0, 60, 0, True, ""))], 10**18) == []
    assert reports == [("m1", "monitor.unbuildable", "No task can be built: OverflowError.")]


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [(0, 1800), (-1, 1800), (-(2**31), 1800), (1, 1), (127, 127), (128, 128), (2**31 - 1, 2**31 - 1)],
)
def test_an_unusual_timeout_and_interval(builder: TaskBuilder, timeout: int, seconds: int) -> None:
    """asynq's workers refuse a message without a timeout; a negative one has passed before the check begins."""
    (task,) = builder.build(
        [MonitorDetails(Monitor("m1", "n", "ping", 2**31 - 1, timeout, -1, -1, 2**31 - 1, True, ""))], 0
    )
    payload = json.loads(task.payload)
    assert (payload["timeout"], payload["interval"], payload["max_retries"]) == (timeout, 2**31 - 1, -1)
    assert decode(encode_message(task)).timeout == seconds


def test_a_dangling_proxy_is_reported_and_the_monitor_runs_without(builder: TaskBuilder, reports: Reports) -> None:
    monitor = Monitor("m1", "n", "ping", 60, 16, 0, 60, 0, True, "")
    (task,) = builder.build([MonitorDetails(monitor, dangling_proxy_id="p9")], 0)
    assert "proxy" not in json.loads(task.payload)
    assert reports == [("m1", "monitor.dangling_proxy", "Proxy 'p9' does not exist.")]


def test_rows_that_the_monitor_runs_without_are_reported(builder: TaskBuilder, reports: Reports) -> None:
    monitor = Monitor("m1", "n", "push", 60, 16, 0, 60, 0, True, "")
    problems = (("monitor.bad_maintenance", "a window"), ("monitor.bad_heartbeat", "a heartbeat"))
    (task,) = builder.build([MonitorDetails(monitor, problems=problems)], 0)
    assert not {"proxy", "last_heartbeat"} & json.loads(task.payload).keys()
    assert reports == [("m1", *problem) for problem in problems]


def test_a_bad_maintenance_window_is_reported_and_the_others_count(builder: TaskBuilder, reports: Reports) -> None:
    monitor = Monitor("m1", "n", "ping", 60, 16, 0, 60, 0, True, "")
    bad = MaintenanceWindow(
        id="bad",
        active=True,
        strategy="cron",
        cron="99 * * * *",
        duration=5,
        start_date_time="2020-01-01T00:00",
        end_date_time="2100-01-01T00:00",
    )
    good = MaintenanceWindow(id="good", active=True, strategy="manual")
    (task,) = builder.build([MonitorDetails(monitor, windows=(bad, good))], 1_795_351_066_550)
    assert json.loads(task.payload)["is_under_maintenance"] is True
    assert [kind for _, kind, _ in reports] == ["monitor.bad_maintenance"]


@pytest.mark.parametrize(
    ("now_ms", "text"),
    [
        (1_795_351_066_000, "2026-11-22T12:37:46Z"),
        (1_795_351_066_500, "2026-11-22T12:37:46.5Z"),
        (1_795_351_066_050, "2026-11-22T12:37:46.05Z"),
        (1_795_351_066_001, "2026-11-22T12:37:46.001Z"),
        (1_795_351_060_000, "2026-11-22T12:37:40Z"),
    ],
)
def test_scheduled_at_is_trimmed_as_go_trims_it(builder: TaskBuilder, now_ms: int, text: str) -> None:
    (task,) = builder.build([MonitorDetails(Monitor("m1", "n", "ping", 60, 16, 0, 60, 0, True, ""))], now_ms)
    assert json.loads(task.payload)["scheduled_at"] == text


@pytest.mark.parametrize(
    "vector",
    [vector for vector in vectors("tasks") if vector["task"]],
    ids=lambda vector: f"{vector['db']}-{vector['case']}",
)
def test_the_message_around_a_golden_payload_has_the_golden_fields(vector: dict[str, Any]) -> None:
    golden = decode(base64.b64decode(vector["task"]["msg_b64"]))
    payload = json.loads(golden.payload)
    ours = decode(
        encode_message(HealthCheckTask(payload["monitor_id"], payload["interval"], payload["timeout"], golden.payload))
    )
    unique_key = (10,)  # upstream's alone, and of no effect there
    assert (golden.others, ours.others) == (unique_key, ())
    assert (ours.type, ours.payload, ours.id, ours.queue, ours.timeout) == (
        golden.type,
        golden.payload,
        golden.id,
        golden.queue,
        golden.timeout,
    )
