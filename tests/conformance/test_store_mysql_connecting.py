"""Connecting to MySQL: privileges, TLS, passwords, impostors, parameters of the URL."""

import asyncio

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from peekaping_producer.errors import ConfigError, StoreUnavailableError
from peekaping_producer.migrate import migrate
from peekaping_producer.stores import store_for
from peekaping_producer.targets import DatabaseTarget, Tls
from tests.conformance.conftest import opened, refusal
from tests.kit import mysql, processes
from tests.kit.certificates import self_signed
from tests.kit.mysql import MysqlDatabase, MysqlServer
from tests.kit.mysql_impostor import OK, SALT, Peer, impostor
from tests.kit.waiting import until


@pytest.fixture
def empty_database(mysql_database: DatabaseTarget) -> DatabaseTarget:
    return mysql_database


async def test_a_missing_privilege_is_final(database: MysqlDatabase) -> None:
    await database.execute("DROP USER IF EXISTS peekaping_tests_stranger")
    await database.execute("CREATE USER peekaping_tests_stranger IDENTIFIED BY 'strange-secret'")
    stranger = msgspec.structs.replace(database.target, user="peekaping_tests_stranger", password="strange-secret")
    assert "Access denied for user 'peekaping_tests_stranger'" in str(await refusal(stranger))
    await database.execute("GRANT SELECT ON peekaping_tests.monitors TO peekaping_tests_stranger")
    error = await refusal(stranger)
    assert "SELECT command denied to user 'peekaping_tests_stranger'" in str(error)
    assert "monitor_maintenances" in str(error)
    assert not isinstance(error, StoreUnavailableError)
    await database.execute("DROP USER peekaping_tests_stranger")


async def test_the_right_select_is_enough(database: MysqlDatabase) -> None:
    await database.execute("DROP USER IF EXISTS peekaping_tests_reader")
    await database.execute("CREATE USER peekaping_tests_reader IDENTIFIED BY 'reader-secret'")
    await database.execute("GRANT SELECT ON peekaping_tests.* TO peekaping_tests_reader")
    reader = msgspec.structs.replace(database.target, user="peekaping_tests_reader", password="reader-secret")
    async with opened(reader):
        pass
    await database.execute("DROP USER peekaping_tests_reader")


async def test_a_full_server_may_have_room_later() -> None:
    with processes.running(MysqlServer, "--max-connections=10") as server:
        busy = [await mysql.connect(server.target) for _ in range(11)]  # one more for an administrator
        error = await refusal(server.target)
        assert isinstance(error, StoreUnavailableError)
        assert "Too many connections" in str(error)
        for connection in busy:
            connection.close()


async def test_tls_is_verified_unless_disabled() -> None:
    with self_signed() as certificate:
        files = (f"--ssl-cert={certificate}", f"--ssl-key={certificate.with_suffix('.key')}")
        with processes.running(MysqlServer, *files, "--require-secure-transport=ON") as server:
            target = server.target
            untrusted = await refusal(msgspec.structs.replace(target, tls=Tls()))
            assert "certificate is not trusted" in str(untrusted)
            assert not isinstance(untrusted, StoreUnavailableError)
            other_name = msgspec.structs.replace(target, host="localhost", tls=Tls(ca_file=str(certificate)))
            assert "certificate is not trusted" in str(await refusal(other_name))
            assert not isinstance(await refusal(target), StoreUnavailableError)
            await migrate(msgspec.structs.replace(target, tls=Tls(ca_file=str(certificate))))
            for tls in (Tls(ca_file=str(certificate)), Tls(verify=False)):
                async with opened(msgspec.structs.replace(target, tls=tls)) as store, store.session() as session:
                    assert (await session._fetch("SHOW STATUS LIKE 'Ssl_cipher'"))[0][1]


async def test_a_server_without_tls_receives_nothing_when_tls_is_required() -> None:
    async def greet(peer: Peer) -> None:
        peer.greet("mysql_native_password")

    async with impostor(greet) as (target, peers):
        error = await refusal(msgspec.structs.replace(target, tls=Tls()))
    assert "TLS is required, but the server" in str(error)
    assert not isinstance(error, StoreUnavailableError)
    assert peers[0].said == b""


@pytest.mark.parametrize("plugin", ["mysql_clear_password", "mysql_old_password"])
@pytest.mark.parametrize("at_once", [True, False])
async def test_the_password_is_never_sent_in_clear(plugin: str, at_once: bool) -> None:
    async def ask(peer: Peer) -> None:
        peer.greet(plugin if at_once else "mysql_native_password")
        await peer.receive()
        peer.send(b"\xfe" + plugin.encode() + b"\x00" + SALT + b"\x00")

    async with impostor(ask) as (target, peers):
        error = await refusal(target)
        assert target.password
        assert f"by {plugin}, which requires TLS" in str(error)
        for encoding in ("utf-8", "utf-16", "latin-1"):
            assert target.password.encode(encoding, "replace") not in peers[0].said


async def test_no_server_receives_a_local_file() -> None:
    async def ask(peer: Peer) -> None:
        peer.greet("mysql_native_password")
        await peer.receive()
        peer.send(OK)
        await peer.receive()
        peer.send(b"\xfb" + __file__.encode())

    async with impostor(ask) as (target, peers):
        assert isinstance(await refusal(target), StoreUnavailableError)
        assert b"No server is given" not in peers[0].said


async def test_a_password_reaches_mysql_8_in_utf_8_and_encrypted() -> None:
    """caching_sha2_password without TLS and without the server's cache, as for a user's first connection."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    told: list[bytes] = []

    async def authenticate(peer: Peer) -> None:
        peer.greet("caching_sha2_password")
        await peer.receive()
        peer.send(b"\x01\x04")
        assert await peer.receive() == b"\x02"
        peer.send(b"\x01" + public)
        oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
        mixed = key.decrypt(await peer.receive(), oaep)
        told.append(bytes(byte ^ SALT[n % len(SALT)] for n, byte in enumerate(mixed)))

    async with impostor(authenticate) as (target, _):
        connecting = asyncio.create_task(store_for(target, connections=1).open())
        await until(lambda: bool(told))
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
    assert told == [f"{target.password}\0".encode()]


async def test_a_reply_of_another_protocol_is_an_unavailable_store() -> None:
    async def answer(peer: Peer) -> None:
        peer._writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 100_000)

    async with impostor(answer) as (target, _):
        assert isinstance(await refusal(target), StoreUnavailableError)


@pytest.mark.parametrize("name", ["charset", "local_infile", "ssl-mode", "pool_size"])
def test_an_unsupported_parameter_is_named_without_its_value(name: str) -> None:
    with pytest.raises(ConfigError, match=f"expected ssl-mode only, got {name}=...") as caught:
        store_for(DatabaseTarget(dialect="mysql", name="x", params={name: "s3cret"}), connections=1)
    assert "s3cret" not in str(caught.value)
