"""The targets of settings: parts, URLs and TLS."""

from pathlib import Path

import msgspec
import pytest

from peekaping_producer.targets import DatabaseTarget, RabbitMqTarget, RedisTarget, Tls
from tests.kit.settings_loading import ENCODED, HARD, PARTS, load, problems


def database(**environ: str) -> DatabaseTarget:
    return load({"database"}, **environ).database_target()


def redis(**environ: str) -> RedisTarget:
    return load({"redis"}, **environ).redis_target()


def fields(target: DatabaseTarget | RabbitMqTarget | RedisTarget) -> dict[str, object]:
    """All fields, since the text of a target hides some."""
    return {name: getattr(target, name) for name in target.__struct_fields__}


def test_parts_accept_any_password() -> None:
    assert database(**PARTS | {"DB_PASS": HARD}).password == HARD
    assert redis(REDIS_PASSWORD=HARD).password == HARD


@pytest.mark.parametrize(
    ("db_type", "dialect"),
    [
        ("PostgreSQL", "postgres"),
        ("postgres", "postgres"),
        ("mysql", "mysql"),
        ("Mongo", "mongo"),
        ("MONGODB", "mongo"),
    ],
)
def test_db_type_is_the_dialect_in_any_case(db_type: str, dialect: str) -> None:
    assert database(**PARTS | {"DB_TYPE": db_type}).dialect == dialect


def test_sqlite_reads_only_its_path() -> None:
    target = database(DB_TYPE="sqlite", DB_NAME="./x.db", DB_PORT="x", DB_PASS="y", DB_TLS="z")
    assert fields(target) == fields(DatabaseTarget(dialect="sqlite", name="./x.db"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            f"postgresql://us%40er:{ENCODED}@db.example:6000/na%2Fme?application_name=x",
            DatabaseTarget(
                dialect="postgres",
                name="na/me",
                host="db.example",
                port=6000,
                user="us@er",
                password=HARD,
                params={"application_name": "x"},
            ),
        ),
        ("postgres://u@[::1]/n", DatabaseTarget(dialect="postgres", name="n", host="::1", port=5432, user="u")),
        ("mysql2://u:p@h/n", DatabaseTarget(dialect="mysql", name="n", host="h", port=3306, user="u", password="p")),
        ("mariadb://u:p@h/n", DatabaseTarget(dialect="mysql", name="n", host="h", port=3306, user="u", password="p")),
        ("mongodb://h/n", DatabaseTarget(dialect="mongo", name="n", host="h", port=27017)),
        (
            f"mongodb://u:{ENCODED}@h1:27018,[::1],h-3.example/n?replicaSet=rs0",
            DatabaseTarget(
                dialect="mongo",
                name="n",
                host="h1:27018,[::1],h-3.example",
                port=27017,
                user="u",
                password=HARD,
                params={"replicaSet": "rs0"},
            ),
        ),
        ("mongodb+srv://h/n", DatabaseTarget(dialect="mongo", name="n", host="h", tls=Tls())),
        ("sqlite:///data/x%20y.db", DatabaseTarget(dialect="sqlite", name="data/x y.db", named_in="DATABASE_URL")),
        ("sqlite3:////data/x.db", DatabaseTarget(dialect="sqlite", name="/data/x.db", named_in="DATABASE_URL")),
    ],
)
def test_database_url(url: str, expected: DatabaseTarget) -> None:
    assert fields(database(DATABASE_URL=url, DB_HOST="ignored", DB_PORT="ignored")) == fields(expected)


def test_mongo_decodes_user_and_password_of_the_parts_as_the_go_services_do() -> None:
    target = database(**PARTS | {"DB_TYPE": "mongo", "DB_USER": "a%40b", "DB_PASS": "100%25%", "DB_HOST": "h1:1,h2"})
    assert (target.user, target.password, target.host) == ("a@b", "100%%", "h1:1,h2")
    assert database(**PARTS | {"DB_PASS": "a%40b"}).password == "a%40b"


@pytest.mark.parametrize("hosts", ["h1,", ",h2", "h1,h2:x", "h1:x,h2", "h1:27017,h2:99999", "h1,h2,"])
def test_malformed_seeds_are_refused_without_showing_them(hosts: str) -> None:
    (problem,) = problems({"database"}, DATABASE_URL=f"mongodb://u:s3cret@{hosts}/n")
    assert problem.startswith("DATABASE_URL: expected postgres://")


@pytest.mark.parametrize(
    "url", ["sqlite:peekaping.db", "sqlite://peekaping.db", "sqlite:/x.db", "sqlite:///", "sqlite:"]
)
def test_a_sqlite_url_without_three_slashes_is_refused(url: str) -> None:
    assert problems({"database"}, DATABASE_URL=url) == [
        "DATABASE_URL: expected sqlite:///path with three slashes, or four for an absolute path, got ***"
    ]


def test_a_repeated_parameter_is_refused() -> None:
    (problem,) = problems({"database"}, DATABASE_URL="mongodb://h/n?readPreferenceTags=dc:a&readPreferenceTags=dc:b")
    assert problem == "DATABASE_URL: expected each parameter once, got ***"


def test_db_type_must_not_contradict_the_url() -> None:
    assert database(DATABASE_URL="mysql://u@h/n", DB_TYPE="MySQL").dialect == "mysql"
    assert database(DATABASE_URL="mongodb://h/n", DB_TYPE="mongo").dialect == "mongo"
    assert problems({"database"}, DATABASE_URL="mysql://u@h/n", DB_TYPE="postgres") == [
        "DB_TYPE: expected 'mysql' as in DATABASE_URL, got 'postgres'; remove one of them"
    ]


def test_redis_url() -> None:
    url = f"redis://us%40er:{ENCODED}@cache/3"
    expected = RedisTarget(host="cache", port=6379, db=3, username="us@er", password=HARD)
    assert fields(redis(REDIS_URL=url, REDIS_PORT="ignored", REDIS_PASSWORD="ignored")) == fields(expected)


def test_rediss_is_verified_tls() -> None:
    assert redis(REDIS_URL="rediss://h").tls == Tls()
    assert redis(REDIS_URL="rediss://h", REDIS_TLS_VERIFY="false").tls == Tls(verify=False)


def test_tls_with_the_parts_and_its_files(tmp_path: Path) -> None:
    ca, cert, key = (str(tmp_path / name) for name in ("ca", "cert", "key"))
    for path in (ca, cert, key):
        Path(path).touch()
    files = {"CA_FILE": ca, "CERT_FILE": cert, "KEY_FILE": key}
    expected = Tls(ca_file=ca, cert_file=cert, key_file=key)
    assert redis(REDIS_TLS="true", **{f"REDIS_TLS_{name}": path for name, path in files.items()}).tls == expected
    assert database(**PARTS, DB_TLS="1", **{f"DB_TLS_{name}": path for name, path in files.items()}).tls == expected


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"REDIS_TLS": "true", "REDIS_TLS_CA_FILE": "/no"}, "REDIS_TLS_CA_FILE: expected the path of a readable file"),
        (
            {"REDIS_TLS": "true", "REDIS_TLS_CERT_FILE": "/no", "REDIS_TLS_KEY_FILE": __file__},
            "REDIS_TLS_CERT_FILE: expected the path of a readable file, got '/no'",
        ),
        ({"REDIS_TLS_CA_FILE": __file__}, "REDIS_TLS_CA_FILE: requires REDIS_TLS=true"),
        ({"REDIS_TLS": "true", "REDIS_TLS_KEY_FILE": __file__}, "REDIS_TLS_KEY_FILE: requires REDIS_TLS_CERT_FILE"),
        ({"REDIS_TLS": "false", "REDIS_URL": "rediss://h"}, "REDIS_TLS: expected true as in REDIS_URL"),
        (
            {"DB_TLS": "true", "DATABASE_URL": "postgres://u@h/n?sslmode=disable"},
            "DB_TLS: expected false as in DATABASE_URL, got true",
        ),
        ({"DATABASE_URL": "postgres://u@h/n?sslmode=allow"}, "DATABASE_URL: unsupported sslmode; expected one of "),
        ({"DATABASE_URL": "mongodb://h/n?tls=true&ssl=false"}, "DATABASE_URL: tls and ssl contradict each other"),
        (
            {"DATABASE_URL": "mongodb+srv://h:27018/n"},
            "DATABASE_URL: expected one host and no port with mongodb+srv://",
        ),
        (
            {"DATABASE_URL": "mysql://u@h/n?ssl-mode=PREFERRED"},
            "DATABASE_URL: unsupported ssl-mode; expected one of disabled, ",
        ),
    ],
)
def test_tls_contradictions(environ: dict[str, str], problem: str) -> None:
    [found] = problems(**({} if "DATABASE_URL" in environ else PARTS) | environ)
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("url", "tls"),
    [
        ("postgres://u@h/n", None),
        ("postgres://u@h/n?sslmode=disable", None),
        ("postgres://u@h/n?sslmode=require", Tls()),
        ("postgres://u@h/n?sslmode=verify-full", Tls()),
        ("mysql://u@h/n?ssl-mode=DISABLED", None),
        ("mysql://u@h/n?ssl-mode=VERIFY_IDENTITY", Tls()),
        ("mongodb://h/n?tls=false", None),
        ("mongodb://h/n?ssl=true", Tls()),
        ("mongodb+srv://h/n", Tls()),
        ("mongodb+srv://h/n?tls=false", None),
    ],
)
def test_a_url_requests_tls_in_the_terms_of_its_database(url: str, tls: Tls | None) -> None:
    target = database(DATABASE_URL=url)
    assert target.tls == tls
    assert target.params == {}


def test_db_tls_verify_false_draws_a_warning() -> None:
    settings = load({"database"}, DATABASE_URL="postgres://u@h/n?sslmode=require", DB_TLS_VERIFY="false")
    assert settings.database_target().tls == Tls(verify=False)
    assert [each.partition(":")[0] for each in settings.warnings] == ["DB_TLS_VERIFY"]


def test_given_settings_are_passed_to_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca.pem").touch()
    monkeypatch.chdir(tmp_path)
    given = {"REDIS_URL": f"redis+sentinel://u:{ENCODED}@h1,h2:7000/m", "REDIS_SENTINEL_PASSWORD": HARD}
    given |= {"REDIS_TLS": "true", "REDIS_TLS_VERIFY": "false", "REDIS_TLS_CA_FILE": "ca.pem"}
    settings = load(**PARTS, **given, REDIS_HOST="not read")
    passed_on = settings.as_environment("redis")
    assert passed_on.keys() == given.keys()
    assert passed_on["REDIS_TLS_CA_FILE"] == str(tmp_path / "ca.pem")
    again = load({"redis"}, **(passed_on | {"REDIS_TLS_CA_FILE": "ca.pem"}))
    assert again.redis_target() == settings.redis_target()


def rabbitmq(**environ: str) -> RabbitMqTarget:
    return load({"rabbitmq"}, **environ).rabbitmq_target()


def test_rabbitmq_has_defaults_for_all() -> None:
    expected = RabbitMqTarget(user="admin", password="password", queue="logs")
    assert fields(rabbitmq()) == fields(expected)
    assert "password" not in load({"rabbitmq"}).secrets


def test_rabbitmq_in_parts() -> None:
    target = rabbitmq(
        RABBITMQ_HOST="::1",
        RABBITMQ_PORT="5673",
        RABBITMQ_USER="me",
        RABBITMQ_PASS=HARD,
        RABBITMQ_VHOST="a/b",
        RABBITMQ_QUEUE="jobs",
        RABBITMQ_QUEUE_TYPE="Quorum",
        RABBITMQ_HEARTBEAT="30s",
        RABBITMQ_BLOCKED_TIMEOUT="5",
        RABBITMQ_RETENTION="7",
        RABBITMQ_TLS="true",
    )
    expected = RabbitMqTarget(
        host="::1",
        port=5673,
        user="me",
        password=HARD,
        vhost="a/b",
        tls=Tls(),
        queue="jobs",
        queue_type="quorum",
        heartbeat_s=30,
        blocked_timeout_s=5,
        retention_days=7,
    )
    assert fields(target) == fields(expected)
    assert str(target) == "amqps://[::1]:5673/a%2Fb"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://h", RabbitMqTarget(host="h")),
        ("amqp://h/", RabbitMqTarget(host="h")),
        ("amqp://u:p@h:1/%2Fa", RabbitMqTarget(host="h", port=1, user="u", password="p", vhost="/a")),
        (f"amqps://u%40:{ENCODED}@[::1]/v", RabbitMqTarget(host="::1", port=5671, user="u@", password=HARD, vhost="v")),
    ],
)
def test_rabbitmq_url(url: str, expected: RabbitMqTarget) -> None:
    target = rabbitmq(RABBITMQ_URL=url, RABBITMQ_HOST="not read", RABBITMQ_PASS="not read")
    tls = Tls() if url.startswith("amqps") else None
    assert fields(target) == fields(msgspec.structs.replace(expected, tls=tls, queue="logs"))


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("RABBITMQ_URL", "http://h", "expected amqp:// or amqps://"),
        ("RABBITMQ_URL", "amqp://u:canary@h/a/b", "one virtual host"),
        ("RABBITMQ_URL", "amqp://u:canary@h,i", "one host"),
        ("RABBITMQ_URL", "amqp://u:canary@h?heartbeat=1", "unsupported parameter heartbeat"),
        ("RABBITMQ_URL", "amqps://u:canary@h?verify=verify_none", "set RABBITMQ_TLS_VERIFY=false"),
        ("RABBITMQ_QUEUE", "amq.mine", "does not begin with amq."),
        ("RABBITMQ_QUEUE", "é" * 121, "240 bytes"),
        ("RABBITMQ_QUEUE_TYPE", "stream", "classic | quorum"),
        ("RABBITMQ_RETENTION", "7D", "off, or 1 to 3650 days"),
        ("RABBITMQ_RETENTION", "0", "off, or 1 to 3650 days"),
        ("RABBITMQ_TLS_CERT_FILE", __file__, "requires RABBITMQ_TLS=true"),
    ],
)
def test_bad_settings_of_rabbitmq_are_refused(name: str, value: str, text: str) -> None:
    (problem,) = problems({"rabbitmq"}, **{name: value})
    assert problem.startswith(name)
    assert text in problem
    assert "canary" not in problem


def test_a_replica_does_not_read_the_settings_of_rabbitmq() -> None:
    settings = load(**PARTS, RABBITMQ_PORT="many", RABBITMQ_HOSTT="x")
    assert settings.origin("RABBITMQ_PORT") == "not read"
    assert settings.warnings == ()


def test_names_of_other_programs_for_rabbitmq_are_recognized() -> None:
    (warning,) = load({"rabbitmq"}, AMQP_PASSWORD="x").warnings
    assert "RABBITMQ_PASS" in warning
