"""A real PgBouncer in transaction mode, as Debian packages it, before the session's Postgres."""

import contextlib
import hashlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec

from peekaping_producer.targets import DatabaseTarget
from tests.kit import processes
from tests.kit.requirements import need


@contextlib.contextmanager
def pgbouncer(
    server: DatabaseTarget, *, server_connections: int = 2, certificate: Path | None = None
) -> Iterator[DatabaseTarget]:
    """`server` by way of a pooler that shares few server connections among all its clients, with no special setting.

    With `certificate`, made by self_signed(), it takes clients by TLS only.
    """
    binary = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    need(binary, "PgBouncer: apt-get install pgbouncer")
    with processes.directory("peekaping-pgbouncer-") as folder:
        port = processes.free_port()
        config = folder / "pgbouncer.ini"
        tls = "" if certificate is None else _tls(certificate)
        config.write_text(_config(server, folder, port, server_connections) + tls)
        log = folder / "pgbouncer.log"
        process = processes.start(log, binary, config)
        try:
            processes.wait_until(lambda: processes.listens(port), process, log)
            yield msgspec.structs.replace(server, host=processes.HOST, port=port)
        finally:
            processes.stop(process, signal.SIGTERM)


def _config(server: DatabaseTarget, folder: Path, port: int, server_connections: int) -> str:
    digest = hashlib.md5(f"{server.password}{server.user}".encode(), usedforsecurity=False).hexdigest()
    users = folder / "users.txt"
    users.write_text(f'"{server.user}" "md5{digest}"\n')
    # The server asks for SCRAM, for which PgBouncer needs the password itself.
    password = (server.password or "").replace("'", "''")
    return f"""
[databases]
* = host={server.host} port={server.port} user={server.user} password='{password}'
[pgbouncer]
listen_addr = {processes.HOST}
listen_port = {port}
unix_socket_dir =
auth_type = md5
auth_file = {users}
pool_mode = transaction
default_pool_size = {server_connections}
"""


def _tls(certificate: Path) -> str:
    return f"""
client_tls_sslmode = require
client_tls_cert_file = {certificate}
client_tls_key_file = {certificate.with_suffix(".key")}
"""
