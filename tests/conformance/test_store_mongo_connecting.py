"""Connecting to MongoDB: users, privileges, TLS, parameters of the URL."""

import traceback
from pathlib import Path
from typing import Any

import msgspec
import pytest

from peekaping_producer.errors import ConfigError, StoreUnavailableError
from peekaping_producer.stores import store_for
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.mongo_client import MongoDatabaseClient
from peekaping_producer.targets import DatabaseTarget, Tls
from tests.conformance.conftest import opened, refusal
from tests.kit.certificates import self_signed
from tests.kit.mongo import MongoDatabase
from tests.kit.mongo_gate import Gate, gate

SECRET = "pl4nted"

USER, PASSWORD = "péé,ka=ping", "s3cret@:/?#%é"


@pytest.fixture
def empty_database(mongo_database: DatabaseTarget) -> DatabaseTarget:
    return mongo_database


def behind(target: DatabaseTarget, entrance: Gate, **changes: Any) -> DatabaseTarget:
    fields = {"port": entrance.port, "user": USER, "password": PASSWORD} | changes
    return msgspec.structs.replace(target, **fields)


@pytest.mark.parametrize("mechanism", [None, "SCRAM-SHA-1", "SCRAM-SHA-256"])
async def test_a_user_of_the_admin_database_may_read(database: MongoDatabase, mechanism: str | None) -> None:
    params = {} if mechanism is None else {"authmechanism": mechanism}
    async with (
        gate(database.target.port or 0, {("admin", USER): PASSWORD}) as entrance,
        opened(behind(database.target, entrance, params=params)) as store,
        store.session() as session,
    ):
        assert await session.page_of_plans(None, 1) == []
    assert set(entrance.mechanisms) == {mechanism or "SCRAM-SHA-256"}


async def test_the_auth_source_of_the_url_is_used(database: MongoDatabase) -> None:
    async with gate(database.target.port or 0, {("people", USER): PASSWORD}) as entrance:
        async with opened(behind(database.target, entrance, params={"AuthSource": "people"})) as store:
            await store.ping()
        error = await refusal(behind(database.target, entrance))
    assert "authSource is admin unless set" in str(error)


async def test_a_wrong_password_is_final_and_the_user_is_named(database: MongoDatabase) -> None:
    async with gate(database.target.port or 0, {("admin", USER): PASSWORD}) as entrance:
        for wrong in ({"password": PASSWORD + "x"}, {"user": "somebody"}):
            target = behind(database.target, entrance, **wrong)
            error = await refusal(target)
            assert not isinstance(error, StoreUnavailableError)
            assert f"{target}, user {target.user}: the server reports: authentication failed" in str(error)


async def test_a_missing_user_is_named(database: MongoDatabase) -> None:
    async with gate(database.target.port or 0, {("admin", USER): PASSWORD}) as entrance:
        error = await refusal(msgspec.structs.replace(database.target, port=entrance.port))
    assert not isinstance(error, StoreUnavailableError)
    assert "without a user" in str(error)


@pytest.mark.parametrize("command", ["listCollections", "find"])
async def test_a_missing_privilege_is_final(database: MongoDatabase, command: str) -> None:
    async with gate(database.target.port or 0, {("admin", USER): PASSWORD}, forbidden={command}) as entrance:
        error = await refusal(behind(database.target, entrance))
    assert "not authorized" in str(error)
    assert not isinstance(error, StoreUnavailableError)


async def test_tls_is_verified_unless_disabled(database: MongoDatabase) -> None:
    with self_signed() as certificate:
        async with gate(database.target.port or 0, certificate=certificate) as entrance:
            target = behind(database.target, entrance, user=None, password=None)
            for tls in (Tls(ca_file=str(certificate)), Tls(verify=False)):
                async with opened(msgspec.structs.replace(target, tls=tls)) as store:
                    await store.ping()
            untrusted = await refusal(msgspec.structs.replace(target, tls=Tls()))
            other_name = await refusal(
                msgspec.structs.replace(target, host="localhost", tls=Tls(ca_file=str(certificate)))
            )
            in_clear = await refusal(target)
    for error in (untrusted, other_name):
        assert "certificate is not trusted" in str(error)
        assert not isinstance(error, StoreUnavailableError)
    assert isinstance(in_clear, StoreUnavailableError)


async def test_a_server_without_tls_is_refused_when_tls_is_required(database: MongoDatabase) -> None:
    assert isinstance(await refusal(msgspec.structs.replace(database.target, tls=Tls())), StoreUnavailableError)


async def test_a_client_certificate_is_in_one_file_with_its_key(database: MongoDatabase, tmp_path: Path) -> None:
    with self_signed() as certificate:
        both = tmp_path / "both.pem"
        both.write_bytes(certificate.read_bytes() + certificate.with_suffix(".key").read_bytes())
        entering = gate(database.target.port or 0, certificate=certificate, asks_for_certificates=True)
        async with entering as entrance:
            target = behind(database.target, entrance, user=None, password=None)
            tls = Tls(ca_file=str(certificate), cert_file=str(both))
            async with opened(msgspec.structs.replace(target, tls=tls)) as store:
                await store.ping()
            await refusal(msgspec.structs.replace(target, tls=Tls(ca_file=str(certificate))))
        two = Tls(cert_file=str(certificate), key_file=str(certificate.with_suffix(".key")))
        with pytest.raises(ConfigError, match=r"DB_TLS_KEY_FILE.*DB_TLS_CERT_FILE"):
            store_for(msgspec.structs.replace(target, tls=two), connections=1)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"w": SECRET}, "expected tls, authMechanism, .*, got w=..."),
        ({"tlsCAFile": SECRET}, "DB_TLS"),
        ({"ssl": SECRET}, "DB_TLS"),
        ({"readPreference": SECRET}, "readPreference"),
        ({"retryReads": SECRET}, "retryReads"),
        ({"directConnection": SECRET}, "directConnection"),
        ({"maxStalenessSeconds": SECRET, "readPreference": "secondary"}, "maxStalenessSeconds"),
        ({"maxStalenessSeconds": "120"}, "maxStalenessSeconds"),
        ({"authMechanism": "MONGODB-X509"}, "authMechanism"),
        ({"authMechanism": SECRET}, "authMechanism"),
        ({"readPreferenceTags": SECRET, "readPreference": "secondary"}, "readPreferenceTags"),
    ],
)
def test_an_unsupported_parameter_is_named_without_its_value(params: dict[str, str], expected: str) -> None:
    target = DatabaseTarget(dialect="mongo", host="h", port=1, name="x", user="u", password="p", params=params)
    with pytest.raises(ConfigError, match=expected) as caught:
        store_for(target, connections=1)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "params",
    [
        {"readPreference": "secondaryPreferred", "maxStalenessSeconds": "120", "replicaSet": "rs0"},
        {"READPREFERENCE": "nearest", "readpreferencetags": "dc:ny,rack:1"},
        {"directConnection": "false", "retryReads": "false", "authSource": "people"},
    ],
)
def test_supported_parameters_reach_the_driver(params: dict[str, str]) -> None:
    target = DatabaseTarget(dialect="mongo", host="h1:1,[::1]:2,h3", port=3, name="x", params=params)
    options = MongoDatabaseClient(target, 1, Limits())._client.delegate.options
    told = {name.lower(): value for name, value in params.items()}
    mode = told.get("readpreference", "primary")
    assert options.read_preference.mongos_mode == mode
    assert options.retry_reads is (told.get("retryreads") != "false")
    assert options.replica_set_name == told.get("replicaset")
    tags = [{"dc": "ny", "rack": "1"}] if "readpreferencetags" in told else [{}]
    assert mode == "primary" or options.read_preference.tag_sets == tags


@pytest.mark.parametrize(("user", "password"), [("u", None), ("u", ""), (None, SECRET)])
def test_user_and_password_require_each_other(user: str | None, password: str | None) -> None:
    target = DatabaseTarget(dialect="mongo", host="h", port=1, name="x", user=user, password=password)
    with pytest.raises(ConfigError, match=r"user.*password") as caught:
        store_for(target, connections=1)
    assert SECRET not in str(caught.value)
