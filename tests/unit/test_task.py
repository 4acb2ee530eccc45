"""The task's payload, equal to what the Go producer writes."""

import base64
import json
from datetime import datetime
from typing import Any

import pytest

from peekaping_producer.brokers.asynq import encode_message
from peekaping_producer.maintenance import MaintenanceWindow
from peekaping_producer.monitor import Check, Heartbeat, Monitor, Proxy
from peekaping_producer.task import HealthCheckTask, TaskBuilder, checks_cert_expiry
from tests.asynq_peer import decode
from tests.vectors import vectors

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


def check_of(fields: dict[str, Any]) -> Check:
    window = MaintenanceWindow(id="w", active=True, strategy="manual")
    return Check(
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
    """Whether a row of the database can hold it: text there is valid UTF-8, and times end at microseconds."""
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
    ("config", "flag"),
    [
        ('{"check_cert_expiry": true}', True),
        ('{"Check_Cert_Expiry": true}', True),
        ('{"chec\\u006b_cert_expiry": true}', True),
        ('{"chec\u212a_cert_expiry": true}', True),  # Go folds the Kelvin sign to k
        ('{"check_cert_expiry": true, "CHECK_CERT_EXPIRY": false}', False),
        ('{"check_cert_expiry": true, "check_cert_expiry": null}', True),
        ('{"note": "check_cert_expiry"}', False),
        ('{"inner": {"check_cert_expiry": true}}', False),
        ("null", False),
        ("", False),
    ],
)
def test_certificate_flag_is_read_as_go_reads_it(config: str, flag: bool) -> None:
    assert checks_cert_expiry("http", config) is flag
    assert checks_cert_expiry("HTTP-keyword", config) is flag
    assert checks_cert_expiry("TCP", config) is flag
    assert checks_cert_expiry("dns", config) is False


@pytest.mark.parametrize(
    "config", ["{", "[]", "7", '"x"', '{"check_cert_expiry": 1}', '{"a": NaN}', "[" * 100_000, '{"a": 1} x']
)
def test_a_broken_config_is_reported_without_its_text_and_the_monitor_runs(
    builder: TaskBuilder, reports: Reports, config: str
) -> None:
    monitor = Monitor("m1", "n", "http", 60, 16, 0, 60, 0, True, config)
    (task,) = builder.build([Check(monitor)], 0)
    payload = json.loads(task.payload)
    assert (payload["config"], payload["check_cert_expiry"]) == (config, False)
    ((monitor_id, kind, _),) = reports
    assert (monitor_id, kind) == ("m1", "monitor.bad_config")


def test_a_dangling_proxy_is_reported_and_the_monitor_runs_without(builder: TaskBuilder, reports: Reports) -> None:
    monitor = Monitor("m1", "n", "ping", 60, 16, 0, 60, 0, True, "")
    (task,) = builder.build([Check(monitor, dangling_proxy_id="p9")], 0)
    assert "proxy" not in json.loads(task.payload)
    assert reports == [("m1", "monitor.dangling_proxy", "Proxy 'p9' does not exist.")]


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
    (task,) = builder.build([Check(monitor, windows=(bad, good))], 1_795_351_066_550)
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
    (task,) = builder.build([Check(Monitor("m1", "n", "ping", 60, 16, 0, 60, 0, True, ""))], now_ms)
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
