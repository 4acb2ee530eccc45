"""URLs of hosted providers work unchanged; problems with a URL show no secret."""

from pathlib import Path

import pytest

from peekaping_producer.stores import store_for
from peekaping_producer.targets import DatabaseTarget, Tls
from tests.kit.settings_loading import load, problems


def database(url: str, **environ: str) -> DatabaseTarget:
    target = load({"database"}, DATABASE_URL=url, **environ).database_target()
    store_for(target, connections=1)  # raises for unsupported parameters
    return target


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("postgresql://u:p@ep-x.eu-central-1.aws.neon.tech/n?sslmode=require&channel_binding=require", 5432),
        ("postgresql://u:p@h:6543/n?sslmode=require&pgbouncer=true&connection_limit=1&pool_timeout=20", 6543),
        ("postgres://u:p@h:6543/n?sslmode=require&supa=base-pooler.x", 6543),
        ("postgresql+asyncpg://u:p@h/n?ssl=true&schema=public&connect_timeout=10", 5432),
        ("postgres://u:p@h/n?sslmode=verify-full&sslrootcert=system&target_session_attrs=any&keepalives=1", 5432),
        ("mysql://u:p@h:25060/n?ssl-mode=REQUIRED", 25060),
        ('mysql://u:p@h/n?ssl={"rejectUnauthorized":true}', 3306),
        ('mysql://u:p@h/n?ssl={"minVersion":"TLSv1.2", "rejectUnauthorized":true}', 3306),
        ('mysql2://u:p@h/n?ssl={"rejectUnauthorized":true,"minVersion":"TLSv1"}', 3306),
        ("mysql://u:p@h/n?ssl=%7B%7D", 3306),
        ("postgres://u:p@h/n?sslmode=require&target_session_attrs=read-write", 5432),
        ("mysql://u:p@h/n?sslaccept=strict&charset=utf8mb4&parseTime=true", 3306),
        ("mysql+pymysql://u:p@h/n?tls=true&connectTimeout=10", 3306),
        ("mysql://u:p@h/n?sslmode=require&useSSL=true&requireSSL=true&verifyServerCertificate=true", 3306),
        ("MONGODB+SRV://u:p@cluster0.x.mongodb.net/n?retryWrites=true&w=majority&appName=Cluster0", None),
        ("mongodb://u:p@h:10255/n?ssl=true&replicaSet=g&retrywrites=false&maxIdleTimeMS=120000&appName=@a@", 10255),
        ("mongodb://u:p@h/n?tls=true&tlsAllowInvalidCertificates=false&authSource=admin&readConcernLevel=local", 27017),
    ],
)
def test_urls_of_hosted_providers(url: str, port: int | None) -> None:
    target = database(url)
    assert (target.name, target.port, target.tls) == ("n", port, Tls())


@pytest.mark.parametrize("end", ["", "/", "?retryWrites=true&w=majority", "/?retryWrites=true"])
@pytest.mark.parametrize("start", ["mongodb://u:p@h", "mongodb+srv://u:p@h", "postgres://u:p@h", "mysql://u:p@h"])
def test_a_url_without_a_name_uses_db_name(start: str, end: str) -> None:
    end = end if start.startswith("mongodb") else end.partition("?")[0]
    assert database(start + end, DB_NAME="peekaping", DB_PORT="ignored").name == "peekaping"
    [problem] = problems({"database"}, DATABASE_URL=start + end)
    assert "DB_NAME" in problem


def test_the_name_in_a_url_wins() -> None:
    settings = load({"database"}, DATABASE_URL="mongodb://h/n", DB_NAME="a\tb")
    assert settings.database_target().name == "n"
    assert settings.origin("DB_NAME") == "not read"


def test_db_name_is_used_with_a_url_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text("mongodb+srv://u:p@h/?w=majority\n")
    settings = load({"database"}, DATABASE_URL_FILE=str(path), DB_NAME="peekaping")
    assert settings.database_target().name == "peekaping"


@pytest.mark.parametrize(
    "url",
    [
        "redis://h:6379/2?protocol=3&socket_timeout=5&client_name=x&decode_responses=True",
        "redis://h:6379?db=2&family=0&dial_timeout=5s&pool_size=10",
        "rediss://h/2?ssl_cert_reqs=required",
        "valkeys://h/2",
        "redis://h/2?tls=true",
    ],
)
def test_redis_urls_with_parameters(url: str) -> None:
    target = load({"redis"}, REDIS_URL=url).redis_target()
    assert (target.host, target.port, target.db) == ("h", 6379, 2)
    assert (target.tls is not None) == ("ss:" in url or "keys:" in url or "tls" in url)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("postgres://u@h/n?sslmode=verify-ca&sslrootcert={0}&sslcert={0}&sslkey={0}", "ca_file cert_file key_file"),
        ("mysql://u@h/n?ssl-mode=VERIFY_CA&ssl-ca={0}", "ca_file"),
        ("mongodb://h/n?tls=true&tlsCAFile={0}&tlsCertificateKeyFile={0}", "ca_file cert_file"),
    ],
)
def test_files_of_certificates_in_a_url(url: str, parts: str, tmp_path: Path) -> None:
    path, other = tmp_path / "a.pem", tmp_path / "b.pem"
    path.touch()
    other.touch()
    tls = load({"database"}, DATABASE_URL=url.format(path)).database_target().tls
    assert tls == Tls(**dict.fromkeys(parts.split(), str(path)))
    own = load({"database"}, DATABASE_URL=url.format(path), DB_TLS_CA_FILE=str(other)).database_target().tls
    assert own is not None
    assert own.ca_file == str(other)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DB", "postgres://u:canary@h/n?sslmode=no-verify"),
        ("DB", "mysql://u:canary@h/n?tls=skip-verify"),
        ("DB", 'mysql://u:canary@h/n?ssl={"minVersion":"TLSv1.2","rejectUnauthorized":false}'),
        ("DB", "mongodb://u:canary@h/n?tls=true&tlsInsecure=true"),
        ("DB", "mongodb://u:canary@h/n?tls=true&tlsAllowInvalidCertificates=true"),
        ("DB", "mongodb://u:canary@h/n?tls=true&tlsAllowInvalidHostnames=true"),
        ("REDIS", "rediss://u:canary@h?ssl_cert_reqs=none"),
    ],
)
def test_a_url_alone_cannot_disable_verification(name: str, url: str) -> None:
    setting = "DATABASE_URL" if name == "DB" else "REDIS_URL"
    group = "database" if name == "DB" else "redis"
    [problem] = problems({group}, **{setting: url})
    assert problem == f"{setting}: disables certificate verification; set {name}_TLS_VERIFY=false to allow this"
    settings = load({group}, **{setting: url, f"{name}_TLS_VERIFY": "false"})
    target = settings.database_target() if name == "DB" else settings.redis_target()
    assert target.tls == Tls(verify=False)


@pytest.mark.parametrize(
    ("url", "problem_text"),
    [
        ("postgres://u:canary@h/n?sslmode=prefer", "unsupported sslmode; expected one of "),
        ("postgres://u:canary@h/n?sslmode=disable&channel_binding=require", "sslmode and channel_binding contradict"),
        ("postgres://u:canary@h/n?sslmode=require&sslrootcert=/nonexistent", "expected the path of a readable file"),
        ("postgres://u:canary@h/n?sslrootcert=" + __file__, "a certificate file requires DB_TLS=true"),
        ("mysql://u:canary@h/n?tls=preferred", "unsupported tls; expected one of "),
        ('mysql://u:p@h/n?ssl={"minVersion":"TLSv1.3"}', "unsupported ssl; expected one of "),
        ('mysql://u:p@h/n?ssl={"ca":"canary"}', "unsupported ssl; expected one of "),
        ('mysql://u:p@h/n?ssl={"rejectUnauthorized":"no', "unsupported ssl; expected one of "),
        ("postgres://u:canary@h1:5432,h2:5432/n?target_session_attrs=any", "expected one host (only MongoDB"),
        ("mysql://u:canary@h1,h2/n", "expected one host (only MongoDB"),
        ("mysql://u:canary@h/n?useSSL=true&ssl=false", "useSSL and ssl contradict each other"),
        ("mongodb://u:canary@h/n?tls=perhaps", "unsupported tls; expected one of "),
        ("mongodb://u:27?canary@h/n", "expected name=value after a question mark, got ***"),
    ],
)
def test_a_problem_with_a_url_shows_no_secret(url: str, problem_text: str) -> None:
    [problem] = problems({"database"}, DATABASE_URL=url, DB_NAME="n")
    assert problem.startswith(f"DATABASE_URL: {problem_text}")
    assert "canary" not in problem


def test_an_unknown_parameter_of_redis_is_named() -> None:
    [problem] = problems({"redis"}, REDIS_URL="redis://:canary@h/0?username=x")
    assert problem == "REDIS_URL: unsupported parameter username; remove it"


def test_several_hosts_of_redis_are_refused_with_the_form_for_sentinels() -> None:
    [problem] = problems({"redis"}, REDIS_URL="redis://:canary@h1:6379,h2:6379/0")
    assert problem.startswith("REDIS_URL: expected one host, got ***; for sentinels use ")
    assert "canary" not in problem


def test_a_placeholder_as_password_draws_a_warning() -> None:
    [warning] = load({"database"}, DATABASE_URL="mongodb+srv://u:<db_password>@cluster.example/n").warnings
    assert warning.startswith("DATABASE_URL: the password is in < and >")
