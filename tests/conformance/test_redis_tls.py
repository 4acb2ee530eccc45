"""TLS to Redis: verified by default, for a server and for sentinels."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.errors import ConfigError, RedisUnusableError
from peekaping_producer.redis_client.client import check_server, redis_for
from peekaping_producer.targets import RedisTarget, Sentinels, Tls
from tests.kit.certificates import self_signed, server_context
from tests.kit.fake_redis import fake_redis, hello
from tests.kit.fault_proxy import fault_proxy
from tests.kit.processes import HOST


@pytest.fixture(scope="module")
def certificate() -> Iterator[Path]:
    with self_signed() as path:
        yield path


async def version(target: RedisTarget) -> str:
    async with redis_for(target, connections=1) as client:
        return await check_server(client, target)


async def test_only_a_trusted_certificate_for_the_host_is_accepted(
    private_redis: RedisServer, certificate: Path
) -> None:
    async with fault_proxy(private_redis.port, tls=server_context(certificate)) as entrance:
        target = RedisTarget(host=HOST, port=entrance.port)
        for tls in (Tls(ca_file=str(certificate)), Tls(verify=False)):
            assert await version(msgspec.structs.replace(target, tls=tls))
        with self_signed() as another:
            for refused in (
                msgspec.structs.replace(target, tls=Tls()),
                msgspec.structs.replace(target, tls=Tls(ca_file=str(another))),
                msgspec.structs.replace(target, host="localhost", tls=Tls(ca_file=str(certificate))),
            ):
                with pytest.raises(RedisUnusableError, match=r"certificate is not trusted \(REDIS_TLS_CA_FILE\)"):
                    await version(refused)


async def test_nothing_is_sent_in_clear_to_a_server_without_tls() -> None:
    told: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told.append(await reader.read(65536))
        writer.write(b"+OK\r\n")
        writer.close()

    server = await asyncio.start_server(listen, HOST, 0)
    target = RedisTarget(host=HOST, port=server.sockets[0].getsockname()[1], password="canary", tls=Tls())
    with pytest.raises(RedisUnusableError, match=r"TLS is refused \(REDIS_TLS,"):
        await version(target)
    server.close()
    assert told[0].startswith(b"\x16\x03")  # the beginning of a TLS handshake
    assert b"canary" not in b"".join(told)


@pytest.mark.parametrize("host", [HOST, "localhost"])
async def test_an_untrusted_sentinel_is_not_asked(certificate: Path, host: str) -> None:
    """A false sentinel could report any server."""
    async with fake_redis({}) as sentinel, fault_proxy(sentinel.port, tls=server_context(certificate)) as entrance:
        tls = Tls() if host == HOST else Tls(ca_file=str(certificate))
        addresses = ((host, entrance.port),)
        with pytest.raises(RedisUnusableError, match=r"certificate is not trusted \(REDIS_TLS_CA_FILE\)"):
            await version(RedisTarget(sentinels=Sentinels(addresses=addresses, master="m"), tls=tls))


async def test_the_certificate_of_a_reported_master_is_verified(private_redis: RedisServer, certificate: Path) -> None:
    """Reported as localhost, which is not in the certificate."""
    async with fault_proxy(private_redis.port, tls=server_context(certificate)) as master:
        port = str(master.port).encode()
        reply = b"*2\r\n$9\r\nlocalhost\r\n$%d\r\n%b\r\n" % (len(port), port)
        async with (
            fake_redis({"SENTINEL": reply}) as sentinel,
            fault_proxy(sentinel.port, tls=server_context(certificate)) as entrance,
        ):
            addresses = ((HOST, entrance.port),)
            target = RedisTarget(
                sentinels=Sentinels(addresses=addresses, master="m"), tls=Tls(ca_file=str(certificate))
            )
            with pytest.raises(RedisUnusableError, match=r"certificate is not trusted \(REDIS_TLS_CA_FILE\)"):
                await version(target)


async def test_tls_for_a_server_without_it_is_refused_at_once(private_redis: RedisServer) -> None:
    """Redis reads the handshake as the begin of a command, and does not answer."""
    with pytest.raises(RedisUnusableError, match="REDIS_TLS: expected false, got true"):
        await version(RedisTarget(host=HOST, port=private_redis.port, tls=Tls()))


async def test_a_client_without_tls_recognizes_a_server_with_tls(private_redis: RedisServer, certificate: Path) -> None:
    """It closes the connection without an answer."""
    async with fault_proxy(private_redis.port, tls=server_context(certificate)) as entrance:
        with pytest.raises(RedisUnusableError, match="REDIS_TLS: expected true, got false"):
            await version(RedisTarget(host=HOST, port=entrance.port))


@contextmanager
def asking_for_a_certificate(certificate: Path) -> Iterator[int]:
    """The port of a server with blocking sockets: asyncio's close without the alert that contains the reason."""
    context = server_context(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificate)
    with socket.create_server((HOST, 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    taken, _ = listener.accept()
                    with suppress(OSError), context.wrap_socket(taken, server_side=True) as client:
                        client.recv(65536)
                        client.sendall(hello("7.2.0"))

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


async def test_a_server_that_requires_a_certificate_ends_the_start(certificate: Path) -> None:
    with asking_for_a_certificate(certificate) as port:
        target = RedisTarget(host=HOST, port=port, tls=Tls(ca_file=str(certificate)))
        with pytest.raises(RedisUnusableError, match="REDIS_TLS_CERT_FILE"):
            await version(target)


async def test_the_error_contains_files_without_a_certificate(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"REDIS_TLS: expected PEM files, got \S+/ca\.pem"):
        redis_for(RedisTarget(host=HOST, port=1, tls=Tls(ca_file=str(tmp_path / "ca.pem"))), connections=1)
