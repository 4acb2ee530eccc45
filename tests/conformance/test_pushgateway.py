"""The metrics of `send` in a real Pushgateway: those of the last run, and the time of the last success."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from peekaping_producer.metrics import PREFIX
from tests.kit import processes
from tests.kit.commands import command
from tests.kit.endpoint import running_endpoint
from tests.kit.http import get
from tests.kit.processes import HOST, free_port, listens
from tests.kit.requirements import need

PROGRAM = "prometheus-pushgateway"


@pytest.fixture
def pushgateway() -> Iterator[str]:
    """Its host:port."""
    need(shutil.which(PROGRAM), f"{PROGRAM}: make ci-servers")
    port = free_port()
    with processes.directory("peekaping-pushgateway-") as folder:
        log = folder / "log"
        process = processes.start(log, PROGRAM, f"--web.listen-address={HOST}:{port}")
        try:
            processes.wait_until(lambda: listens(port), process, log)
            yield f"{HOST}:{port}"
        finally:
            processes.stop(process)


async def values(pushgateway: str) -> dict[str, float]:
    """The metrics of `send`, by environment/name, with the result where there is one."""
    status, text = await get(pushgateway, "/metrics")
    assert status == 200
    return {
        "/".join(
            [
                sample.labels["environment"],
                sample.name.removeprefix(f"{PREFIX}_send_"),
                *filter(None, [sample.labels.get("result")]),
            ]
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("job") == "peekaping-sender" and family.name.startswith(f"{PREFIX}_send_")
    }


async def test_each_run_replaces_the_metrics_and_a_failed_one_keeps_the_time_of_the_last_success(
    tmp_path: Path, pushgateway: str
) -> None:
    settings = {"PUSHGATEWAY_URL": f"http://{pushgateway}", "SEND_RETRY_DELAY": "0"}
    async with running_endpoint() as api:
        ended = await command(tmp_path, "send", "--count=2", API_URL=api.url, **settings)
        assert ended.code == 0
        assert "ushgateway returned" not in ended.err
        first = await values(pushgateway)
        api.answers = [500, 500, 500]
        await command(tmp_path, "send", API_URL=api.url, **settings)
        second = await values(pushgateway)
        api.answers = [201]
        await command(tmp_path, "send", API_URL=api.url, ENVIRONMENT="test", **settings)
    assert (first["prod/sent_messages"], first["prod/attempts/success"], first["prod/attempts/error"]) == (2, 2, 0)
    assert (second["prod/sent_messages"], second["prod/failed_messages"], second["prod/attempts/error"]) == (0, 1, 3)
    assert second["prod/last_run_timestamp_seconds"] != first["prod/last_run_timestamp_seconds"]
    last_success = "prod/last_success_timestamp_seconds"
    assert second[last_success] == first[last_success] == first["prod/last_run_timestamp_seconds"]
    third = await values(pushgateway)
    assert third["test/sent_messages"] == 1
    assert {name: value for name, value in third.items() if name.startswith("prod/")} == second


async def test_what_the_pushgateway_refuses_is_an_error_line(tmp_path: Path, pushgateway: str) -> None:
    async with running_endpoint() as api:
        ended = await command(
            tmp_path, "send", "--strict", API_URL=api.url, PUSHGATEWAY_URL=f"http://{pushgateway}/wrong"
        )
    assert ended.code == 0
    assert " ERROR Pushgateway returned error 404: " in ended.err.splitlines()[-1]
