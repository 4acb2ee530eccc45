"""The health check of a replica on this host: one HTTP request, cheap enough to repeat every few seconds.

Starting Python costs more than the request, so this module imports next to nothing, and also runs alone: the image's
health check is `python -I -S probe.py`. It imports `_socket` and `posix`: `socket` and `os` would double the cost.
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
"""The characters around a value that settings.texts.strip_wrapping removes."""
_LIMIT_BYTES = 4096
"""The length of a health check's output that Docker keeps; a replica's answers are far shorter."""


class ProbeError(Exception):
    """The replica is not healthy, or did not answer."""


def main(argv: list[str], env_files: list[str] | None = None) -> int:
    """Run `probe [--ready]`: print one line; returns 0 for an answer of 200 and 1 otherwise."""
    try:
        if argv not in ([], ["--ready"]):
            raise ProbeError(f"probe: expected no argument or --ready, got {argv!r}")
        print(_printable(ask(*address(configured(env_files or [".env"])), "/readyz" if argv else "/livez")))
    except ProbeError as error:
        print(_printable(f"peekaping-producer: {error}"), file=sys.stderr)
        return 1
    return 0


def configured(env_files: list[str]) -> str:
    """METRICS_ADDR as `run` reads it: from the environment, otherwise the last of the files that has it."""
    in_environment = environ.get(_NAME.encode())
    given = None if in_environment is None else in_environment.decode(errors="replace").strip(_AROUND)
    if given:
        return given
    for path in reversed(env_files):
        in_file = _in_dotenv(path)
        if in_file is not None:
            return in_file.strip(_AROUND)
    return DEFAULT_ADDRESS if given is None else given


def _in_dotenv(path: str) -> str | None:
    """The last METRICS_ADDR in a file."""
    found = None
    try:
        with open(path, encoding="utf-8-sig", errors="replace", newline="\n") as lines:
            for line in lines:
                name, equals, value = line.partition("=")
                if equals and name.strip() == _NAME:
                    found = value
    except OSError:
        return None
    return found


def address(text: str) -> tuple[str, int]:
    """The (host, port) to connect to. Raises ProbeError for a METRICS_ADDR without a port."""
    host, colon, port = text.rpartition(":")
    if text.lower() in {"", "off"}:
        raise ProbeError(f"{_NAME}: expected host:port, got {text!r} (probes are disabled); disable this health check")
    if not (colon and port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        shown = "***" if "@" in text else repr(text[:60])
        raise ProbeError(f"{_NAME}: expected host:port or [IPv6]:port, got {shown}")
    if _is_ipv6(text) and not _is_ipv6(host):  # fd00::9464 is an address without a port
        raise ProbeError(f"{_NAME}: expected host:port or [IPv6]:port, got {text[:60]!r}")
    if not int(port):
        raise ProbeError(f"{_NAME}: expected a fixed port, got {text!r}: the replica's port is not known here")
    return DEFAULT_HOST if host in {"", "*"} else host.removeprefix("[").removesuffix("]"), int(port)


def _is_ipv6(host: str) -> bool:
    try:
        getaddrinfo(host.encode(), None, AF_INET6, SOCK_STREAM, 0, AI_NUMERICHOST)
    except OSError:
        return False
    return True


def ask(host: str, port: int, path: str) -> str:
    """The line that describes an answer of 200. Raises ProbeError for any other answer, and after 3 s without one."""
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
    """Status and body. Connecting to 0.0.0.0 or :: reaches this host."""
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
    """The answer until the server closes the connection, or the limit is reached."""
    answer = b""
    while len(answer) < _LIMIT_BYTES:
        _allow_until(deadline, connection)
        part = connection.recv(_LIMIT_BYTES)
        if not part:
            break
        answer += part
    return answer


def _allow_until(deadline: float, connection: socket) -> None:
    """Set the time that is left as the timeout: a server that sends a byte a second must not extend it."""
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
    """`text` as one line of printable ASCII."""
    return "".join(each if each.isascii() and each.isprintable() else " " for each in text).strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
