"""Ask the replica on this host for its health: one HTTP request, made cheaply enough to repeat every few seconds.

Starting Python costs more than the request, so this module imports next to nothing and runs alone, too: `python -I -S
probe.py` is the image's health check. `_socket` and `posix` are what `socket` and `os` wrap: those two would double
the cost.
"""

import sys
from _socket import AF_INET6, AI_NUMERICHOST, SOCK_STREAM, getaddrinfo, socket
from posix import environ
from time import monotonic

TIMEOUT_S = 3.0
DEFAULT_HOST = "127.0.0.1"
DEFAULT_ADDRESS = f"{DEFAULT_HOST}:9464"
_NAME = "METRICS_ADDR"
_AROUND = " \t\r\n\v\f\x85\xa0\u2028\u2029\u200b\u2060\ufeff\"'"
"""What may stand around the value of a setting, as settings.texts.cleaned removes it."""
_LIMIT_BYTES = 4096
"""Docker keeps as much of a health check's output; our own answers are far shorter."""


class ProbeError(Exception):
    """The replica is not known to be healthy. The message is one line, without control characters."""


def main(argv: list[str]) -> int:
    """Run `probe [--ready]`: print one line, return 0 for an answer of 200 and 1 otherwise."""
    try:
        if argv not in ([], ["--ready"]):
            raise ProbeError(f"probe: expected no argument or --ready, got {argv!r}")
        print(_printable(ask(*address(configured()), "/readyz" if argv else "/livez")))
    except ProbeError as error:
        print(_printable(f"peekaping-producer: {error}"), file=sys.stderr)
        return 1
    return 0


def configured() -> str:
    """METRICS_ADDR as `run` finds it: in the environment, otherwise in the file `.env`, otherwise the default."""
    in_environment = environ.get(_NAME.encode())
    given = None if in_environment is None else in_environment.decode(errors="replace").strip(_AROUND)
    if given:
        return given
    in_dotenv = _in_dotenv()
    if in_dotenv is not None:
        return in_dotenv.strip(_AROUND)
    return DEFAULT_ADDRESS if given is None else given


def _in_dotenv() -> str | None:
    """The last value of that name."""
    found = None
    try:
        with open(".env", encoding="utf-8-sig", errors="replace", newline="\n") as lines:
            for line in lines:
                name, equals, value = line.partition("=")
                if equals and name.strip() == _NAME:
                    found = value
    except OSError:
        return None
    return found


def address(text: str) -> tuple[str, int]:
    """(host, port) to ask for a METRICS_ADDR. Raises ProbeError where it names no port."""
    host, colon, port = text.rpartition(":")
    if text.lower() in {"", "off"}:
        raise ProbeError(f"{_NAME}: expected a port to ask, got {text!r}: no probe is served; disable this check")
    if not (colon and port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        shown = "***" if "@" in text else repr(text[:60])
        raise ProbeError(f"{_NAME}: expected host:port or [IPv6]:port, got {shown}")
    if _is_ipv6(text) and not _is_ipv6(host):  # fd00::9464 is an address without a port
        raise ProbeError(f"{_NAME}: expected host:port or [IPv6]:port, got {text[:60]!r}")
    if not int(port):
        raise ProbeError(f"{_NAME}: expected a fixed port, got {text!r}: which one the replica took is not known here")
    return DEFAULT_HOST if host in {"", "*"} else host.removeprefix("[").removesuffix("]"), int(port)


def _is_ipv6(host: str) -> bool:
    try:
        getaddrinfo(host.encode(), None, AF_INET6, SOCK_STREAM, 0, AI_NUMERICHOST)
    except OSError:
        return False
    return True


def ask(host: str, port: int, path: str) -> str:
    """The line that describes an answer of 200. Raises ProbeError for any other, and after 3 s without one."""
    where = f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"
    try:
        status, body = _get(host, port, path)
    except TimeoutError:
        raise ProbeError(f"{where}: expected an answer within {TIMEOUT_S:g} s, got none") from None
    except OSError as error:
        raise ProbeError(f"{where}: expected an answer, got {(error.strerror or str(error)).lower()}") from None
    if status != "200":
        raise ProbeError(f"{where}: expected 200, got {status}: {body or 'nothing'}")
    return f"{where}: {status} {body}"


def _get(host: str, port: int, path: str) -> tuple[str, str]:
    """Status and body. To connect to an address that means any, such as 0.0.0.0, reaches this host."""
    request = f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode()
    deadline = monotonic() + TIMEOUT_S
    refusal = OSError("no address")
    for family, kind, protocol, _, where in getaddrinfo(host.encode(), port, 0, SOCK_STREAM):
        try:
            connection = socket(family, kind, protocol)
            try:
                _allow_until(deadline, connection)
                connection.connect(where)
                connection.sendall(request)
                return _parsed(_received(connection, deadline))
            finally:
                connection.close()
        except OSError as error:
            refusal = error
    raise refusal


def _received(connection: socket, deadline: float) -> bytes:
    """All that comes until the server closes the connection, as far as it is of interest."""
    answer = b""
    while len(answer) < _LIMIT_BYTES:
        _allow_until(deadline, connection)
        part = connection.recv(_LIMIT_BYTES)
        if not part:
            break
        answer += part
    return answer


def _allow_until(deadline: float, connection: socket) -> None:
    """A server that sends a byte a second must not hold the probe up."""
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    connection.settimeout(left)


def _parsed(answer: bytes) -> tuple[str, str]:
    text = answer.decode("ascii", "replace")
    head, _, body = text.partition("\r\n\r\n")
    version, _, rest = head.partition(" ")
    return (rest[:3], body[:300]) if version.startswith("HTTP/") else ("no HTTP", text[:100])


def _printable(text: str) -> str:
    """One line that any terminal shows as it is."""
    return "".join(each if each.isascii() and each.isprintable() else " " for each in text).strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
