"""Log lines: their fields, the lines of libraries, and the masks of secrets."""

import asyncio
import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import quote, quote_plus

import msgspec
import pytest
import structlog

from peekaping_producer.logs import Redaction, setup
from peekaping_producer.settings import load_settings

MODES: list[Literal["dev", "prod", "test"]] = ["dev", "prod", "test"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Restore the logging of the process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    raising = logging.raiseExceptions
    config = structlog.get_config()
    yield
    structlog.configure(**config)
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(False)
    root.handlers[:], root.level = handlers, level
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
    logging.raiseExceptions = raising


def configured(
    mode: Literal["dev", "prod", "test"] = "test",
    level: str = "debug",
    secrets: tuple[str, ...] = (),
    stream: io.StringIO | None = None,
) -> tuple[Any, io.StringIO]:
    """A logger that is made after the configuration, so that none is cached, and its stream."""
    stream = stream or io.StringIO()
    setup.configure(mode, level, "svc", secrets, stream=stream)
    return structlog.stdlib.get_logger(), stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


# Shape


@pytest.mark.parametrize("mode", ["prod", "test"])
def test_a_json_line_has_its_fields_in_order(mode: Literal["prod", "test"]) -> None:
    log, stream = configured(mode)
    log.bind(worker=3).warning("store.retry", message="A sentence.", monitor_id="m")
    [line] = lines(stream)
    assert list(line) == ["timestamp", "level", "service", "event", "message", "worker", "monitor_id"]
    assert line | {"timestamp": ""} == {
        "timestamp": "",
        "level": "warning",
        "service": "svc",
        "event": "store.retry",
        "message": "A sentence.",
        "worker": 3,
        "monitor_id": "m",
    }
    assert len(line["timestamp"]) == len("2026-01-01T00:00:00.000Z")
    assert line["timestamp"].endswith("Z")


def test_service_is_the_configured_one_and_context_is_bound() -> None:
    log, stream = configured()
    structlog.contextvars.bind_contextvars(node="n")
    log.info("a.b", service="other", timestamp="other")
    [line] = lines(stream)
    assert (line["service"], line["node"]) == ("svc", "n")
    assert line["timestamp"] != "other"


@pytest.mark.parametrize(
    ("variables", "on_a_terminal", "elsewhere"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True, True),
    ],
)
def test_the_environment_decides_about_colors(
    variables: dict[str, str], on_a_terminal: bool, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for stream, colored in ((Terminal(), on_a_terminal), (io.StringIO(), elsewhere)):
        log, _ = configured("dev", stream=stream)
        log.info("a.b", message="A sentence.")
        log.error("a.b", exc_info=ValueError("x"))
        assert ("\x1b[" in stream.getvalue()) == colored


def test_dev_lines_are_colored_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    log, stream = configured("dev")
    log.info("a.b", message="A sentence.", monitor_id="m")
    assert stream.getvalue().split(" ", 1)[1] == f"[info     ] {'a.b':28} A sentence. service=svc monitor_id=m\n"
    log, terminal = configured("dev", stream=Terminal())
    log.info("a.b", message="A sentence.")
    assert "\x1b[" in terminal.getvalue()


@pytest.mark.parametrize("mode", MODES)
def test_control_characters_in_values_stay_escaped_on_one_line(mode: Literal["dev", "prod", "test"]) -> None:
    log, stream = configured(mode)
    log.info("a.b", message="one\ntwo\x1b[2J", name="three\nfour")
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(
    ("level", "logged"),
    [
        ("debug", ["debug", "info", "warning", "error", "critical"]),
        ("warn", ["warning", "error", "critical"]),
        ("warning", ["warning", "error", "critical"]),
        ("error", ["error", "critical"]),
        ("fatal", ["critical"]),
    ],
)
def test_levels(level: str, logged: list[str]) -> None:
    log, stream = configured(level=level)
    for name in ("debug", "info", "warning", "error", "critical"):
        getattr(log, name)("a.b")
    assert [line["level"] for line in lines(stream)] == logged


def test_default_stream_is_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    setup.configure("prod", "info", "svc", ())
    structlog.stdlib.get_logger().info("a.b")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "a.b"


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "No space left on device"), ValueError("closed")])
def test_a_line_that_cannot_be_written_raises_nothing(error: Exception) -> None:
    class Broken(io.StringIO):
        def write(self, _text: str) -> int:
            raise error

    log, _ = configured(stream=Broken())
    log.info("a.b")


# Libraries and exceptions


def test_libraries_are_logged_from_warning_up() -> None:
    _, stream = configured()
    logging.getLogger("aiohttp.server").info("no")
    logging.getLogger("aiohttp.server").warning("took %d s", 3)
    logging.getLogger("odd").log(35, "a level between")
    logging.getLogger("bad").error("%d", "no number")
    warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
    logged = lines(stream)
    assert [line["event"] for line in logged] == ["library.aiohttp", "library.odd", "library.bad", "library.py"]
    assert logged[0] | {"timestamp": ""} == {
        "timestamp": "",
        "level": "warning",
        "service": "svc",
        "event": "library.aiohttp",
        "message": "took 3 s",
        "logger": "aiohttp.server",
    }


async def test_asyncio_logs_a_lost_exception_through_structlog() -> None:
    _, stream = configured(secrets=("canary",))
    error = RuntimeError("canary")
    asyncio.get_running_loop().call_exception_handler({"message": "lost", "exception": error})
    [line] = lines(stream)
    assert line["event"] == "library.asyncio"
    assert "RuntimeError: ***" in line["exception"]


def test_uncaught_exceptions_are_one_json_line() -> None:
    _, stream = configured(secrets=("canary",))
    error = RuntimeError("canary")
    sys.excepthook(RuntimeError, error, None)

    def fail() -> None:
        raise error

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    logged = lines(stream)
    assert [line["event"] for line in logged] == ["process.uncaught"] * 2
    assert [line["exception"].splitlines()[-1] for line in logged] == ["RuntimeError: ***"] * 2


def test_an_exception_in_a_destructor_is_a_json_line() -> None:
    _, stream = configured(secrets=("canary",))

    class Bad:
        def __del__(self) -> None:
            raise ValueError("canary")

    Bad()
    [line] = lines(stream)
    assert (line["event"], line["level"]) == ("process.unraisable", "error")
    assert "ValueError: ***" in line["exception"]


def test_a_value_that_cannot_be_shown_is_named_by_its_type() -> None:
    class BadError(Exception):
        def __str__(self) -> str:
            raise ValueError

        __repr__ = __str__

    log, stream = configured()
    log.warning("a.b", error=BadError(), thing=type("Thing", (), {"__repr__": BadError.__repr__})(), number=10**5000)
    [line] = lines(stream)
    assert (line["error"], line["thing"], line["number"]) == ("<BadError>", "<Thing>", "<int>")


def test_an_exception_cannot_move_the_cursor() -> None:
    log, stream = configured("dev")
    log.error("a.b", exc_info=ValueError("\x1b[2J"))
    assert "\x1b" not in stream.getvalue()
    assert "ValueError" in stream.getvalue()


# Secrets

CANARIES = {"DB_PASS": "canary-db: @/%'\"é\n1", "REDIS_URL": "rediss://user:canary-redis%40%2F1@host/0"}


def log_everywhere(log: Any, secret: str) -> None:
    """Log `secret` in every way that a line can be made."""
    spelled = [secret, quote(secret), quote(secret, safe=""), quote_plus(secret), quote(secret, safe="").lower()]
    for text in spelled:
        log.info(f"event {text}", message=f"message {text}", field=text)
        log.info("a.b", nested={"list": [text, (text,), {text}], text: 1, "bytes": text.encode()})
        log.warning("a.b", error=ValueError(text), thing=type("Thing", (), {"__repr__": lambda _self, t=text: t})())
        logging.getLogger("asyncpg").error("failed: %r", text)
        try:
            try:
                raise KeyError(text)
            except KeyError as error:
                raise ConnectionError(f"cannot connect with {text}") from error
        except ConnectionError as error:
            log.exception("a.b", message=str(error))
            logging.getLogger("asyncio").exception("Task exception was never retrieved")
            sys.excepthook(type(error), error, error.__traceback__)


@pytest.mark.parametrize("mode", MODES)
def test_no_configured_secret_is_in_any_line(mode: Literal["dev", "prod", "test"]) -> None:
    parts = {"DB_TYPE": "postgres", "DB_HOST": "h", "DB_PORT": "1", "DB_NAME": "n", "DB_USER": "u"}
    settings = load_settings(environ=parts | CANARIES)
    log, stream = configured(mode, secrets=tuple(settings.secrets))
    assert len(settings.secrets) == 4
    for secret in settings.secrets:
        log_everywhere(log, secret)
    log.info("a.b", settings=settings, database=settings.database_target(), redis=settings.redis_target())
    assert "canary" not in stream.getvalue().lower()
    assert stream.getvalue().count("***") > 100


def test_without_configured_secrets_the_canary_is_found() -> None:
    log, stream = configured()
    log_everywhere(log, "canary")
    assert stream.getvalue().count("canary") > 20


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "DB_PASS",
        "api_token",
        "Proxy-Authorization",
        "dsn",
        "config",
        "proxy",
        "clientSecret",
        "private_key",
    ],
)
def test_names_of_secrets_mask_their_values(name: str) -> None:
    log, stream = configured()
    log.info("a.b", **{name: "canary"}, nested=[{name: {"deep": "canary"}}])
    assert "canary" not in stream.getvalue()
    assert lines(stream)[0][name] == "***"


def test_other_names_are_left_alone() -> None:
    log, stream = configured()
    fields = {"token": 1.5, "passed": "x", "tokens": 3, "proxy_id": "p", "auth": True, "secret": None, "compass": "n"}
    log.info("a.b", **fields)
    assert lines(stream)[0].items() >= fields.items()


def test_credentials_in_any_url_are_masked() -> None:
    log, stream = configured()
    log.info("a.b", message="GET https://u:canary@host/x failed, see https://docs/x?a@b", url="redis://:canary@h")
    [line] = lines(stream)
    assert line["message"] == "GET https://***@host/x failed, see https://docs/x?a@b"
    assert line["url"] == "redis://***@h"


class Record(msgspec.Struct):
    name: str
    config: str


def test_fields_of_structs_are_masked_and_depth_is_bounded() -> None:
    log, stream = configured()
    endless: dict[str, Any] = {}
    endless["again"] = endless
    log.info("a.b", row=Record("n", "canary"), endless=endless)
    [line] = lines(stream)
    assert line["row"] == {"name": "n", "config": "***"}
    assert "…" in json.dumps(line["endless"], ensure_ascii=False)


def test_short_secrets_do_not_garble_lines() -> None:
    redaction = Redaction(["", "a", "42"])
    assert redaction(None, "info", {"event": "a.b", "count": 42, "db_pass": "42"}) == {
        "event": "a.b",
        "count": 42,
        "db_pass": "***",
    }


def test_a_secret_inside_another_does_not_uncover_it() -> None:
    assert Redaction(["abc", "abcdef"]).text("abcdef abc") == "*** ***"


def test_a_number_that_is_the_secret_is_masked() -> None:
    assert Redaction(["271828"])(None, "info", {"n": 271828, "m": 1}) == {"n": "***", "m": 1}
