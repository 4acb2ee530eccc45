"""Certificates for servers of the tests."""

import contextlib
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.kit import processes
from tests.kit.requirements import need


@contextlib.contextmanager
def self_signed() -> Iterator[Path]:
    """A certificate for 127.0.0.1, with its key beside it."""
    need(shutil.which("openssl"), "openssl")
    with processes.directory("peekaping-certificate-") as folder:
        command = processes.unprivileged(
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "tls.key", "-out", folder / "tls.crt"),
        )
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        yield folder / "tls.crt"


def server_context(certificate: Path) -> ssl.SSLContext:
    """Return the context of a server with a certificate made by self_signed()."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    return context
