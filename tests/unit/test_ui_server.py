"""The start of the page: what fails in it, and what that means for the replica."""

import socket

import pytest
from structlog.testing import capture_logs

from peekaping_producer.errors import ConfigError
from peekaping_producer.metrics import Metrics
from peekaping_producer.ui import page as page_module
from peekaping_producer.ui.server import PageServer
from tests.kit.processes import HOST, free_port
from tests.kit.settings_loading import PARTS, load
from tests.kit.ui import MemoryReplica


@pytest.mark.parametrize(
    ("part", "error"),
    [("StaticFiles", ValueError("app.js: expected a file")), ("store_for", ConfigError(["DB_TLS: no such file"]))],
)
async def test_a_page_that_cannot_be_loaded_is_logged_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, part: str, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(page_module, part, fail)
    port = free_port()
    server = PageServer(load(**PARTS, UI_ADDR=f"{HOST}:{port}"), MemoryReplica(), Metrics(), program="1.0.0")
    server.bind()
    with capture_logs() as logged:
        await server.serve()
    assert [(line["event"], line["exc_info"]) for line in logged] == [("ui.failed", error)]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port), timeout=5)
    server.end_streams()
    await server.stop()


async def test_an_explicit_port_that_is_in_use_is_an_error() -> None:
    with socket.create_server((HOST, 0)) as taken:
        address = f"{HOST}:{taken.getsockname()[1]}"
        server = PageServer(load(**PARTS, UI_ADDR=address), MemoryReplica(), Metrics(), program="1.0.0")
        with pytest.raises(ConfigError, match="UI_ADDR"):
            server.bind()
