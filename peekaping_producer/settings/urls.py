"""The parsers of DATABASE_URL, REDIS_URL and RABBITMQ_URL.

No message shows any part of a URL, since it may contain a password.
"""

import re
from urllib.parse import parse_qsl, unquote

import msgspec

from peekaping_producer.errors import ConfigError
from peekaping_producer.settings.addresses import host_and_port
from peekaping_producer.settings.parameters import TlsRequest, classify_parameters
from peekaping_producer.settings.sentinels import sentinel_addresses, sentinel_name
from peekaping_producer.settings.texts import has_hidden_characters
from peekaping_producer.targets import DatabaseTarget, Dialect, RabbitMqTarget, RedisTarget, Sentinels, host_port_text

DIALECTS: dict[str, Dialect] = {
    "postgres": "postgres",
    "postgresql": "postgres",
    "mysql": "mysql",
    "mysql2": "mysql",
    "mariadb": "mysql",
    "sqlite": "sqlite",
    "sqlite3": "sqlite",
    "mongodb": "mongo",
    "mongodb+srv": "mongo",
}
_REDIS_SCHEMES = {"redis": False, "rediss": True, "valkey": False, "valkeys": True}
"""The schemes of one server, and whether they request TLS."""
_SENTINEL_SCHEMES = {f"{scheme}+sentinel": tls for scheme, tls in _REDIS_SCHEMES.items()}
_DATABASE_FORM = "postgres://, mysql://, mongodb:// or mongodb+srv:// user:password@host:port/name, or sqlite:///path"
_REDIS_FORM = "redis:// or rediss:// user:password@host:port/db"
_SENTINEL_FORM = "redis+sentinel:// or rediss+sentinel:// user:password@host:port,host:port/master-name/db"
_RABBITMQ_FORM = "amqp:// or amqps:// user:password@host:port/vhost"
_RABBITMQ_PORTS = {"amqp": 5672, "amqps": 5671}
_ENCODE = "percent-encode characters such as / ? # % in a name or password"
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?://(?:(?P<login>[^/?#]*)@)?(?P<where>[^/?#@]*))?"
    r"(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?"
)
_DEFAULT_PORT: dict[str, int] = {"postgres": 5432, "mysql": 3306, "mongo": 27017}


class Url(msgspec.Struct, frozen=True):
    """The parts of a URL: user and password decoded, all others as written."""

    setting: str
    scheme: str
    user: str | None
    password: str | None
    where: str
    path: str
    params: dict[str, str]

    @property
    def name(self) -> str:
        """The path without its first slash, decoded."""
        return _decoded(self.setting, self.path[1:])


def parse_database_url(text: str, default_name: str = "") -> DatabaseTarget:
    """The target of a DATABASE_URL, without TLS; its `params` are all parameters of the URL.

    `default_name` is the database's name if the URL has none. `sqlite:///x.db` is relative to the working directory and
    `sqlite:////x.db` absolute, as in SQLAlchemy. Only mongodb+srv:// has no port: its servers come from DNS. The host
    of a MongoDB replica set is all of its seeds without the last one's port: `h1:27017,h2`. Raises ConfigError.
    """
    url = _split("DATABASE_URL", text, _DATABASE_FORM)
    dialect = DIALECTS.get(url.scheme) or DIALECTS.get(url.scheme.partition("+")[0])  # as in postgresql+asyncpg
    if dialect is None:
        raise _refusal("DATABASE_URL", _DATABASE_FORM)
    if dialect == "sqlite" and not re.match("[^:]+:///.", text):
        raise _refusal("DATABASE_URL", "sqlite:///path with three slashes, or four for an absolute path")
    name = url.name or default_name
    if not name:
        raise _refusal("DATABASE_URL", "a database name after the host (sqlite: a path)", "add it or set DB_NAME")
    if dialect == "sqlite":
        return DatabaseTarget(dialect=dialect, name=name, params=url.params, named_in="DATABASE_URL")
    if "/" in url.path[1:] or "@" in url.path:
        raise _refusal("DATABASE_URL", "one name after the host", _ENCODE)
    if "," in url.where and dialect != "mongo":
        raise _refusal("DATABASE_URL", "one host (only MongoDB accepts several)", _ENCODE)
    if url.user is None and dialect != "mongo":
        raise _refusal("DATABASE_URL", f"a host and a user as in {_DATABASE_FORM}")
    host, port = _servers(url, dialect)
    return DatabaseTarget(
        dialect=dialect, name=name, host=host, port=port, user=url.user, password=url.password, params=url.params
    )


def parse_redis_url(text: str, problems: list[str]) -> tuple[RedisTarget, TlsRequest]:
    """The target of a REDIS_URL, without TLS, and what the URL requests about TLS. Raises ConfigError."""
    url = _split("REDIS_URL", text, _REDIS_FORM)
    params, requested = classify_parameters("redis", url.params, problems)
    if url.scheme in _SENTINEL_SCHEMES:
        tls, where = _SENTINEL_SCHEMES[url.scheme], _sentinels(url)
    elif url.scheme in _REDIS_SCHEMES:
        if "," in url.where:
            raise _refusal("REDIS_URL", "one host", f"for sentinels use {_SENTINEL_FORM}")
        host, port = _address(url, url.where, _REDIS_FORM)
        number = _database_number(url.path.strip("/") or params.pop("db", ""), "the host")
        where = RedisTarget(host=host, port=port or 6379, db=number)
        tls = _REDIS_SCHEMES[url.scheme]
    else:
        raise _refusal("REDIS_URL", f"{_REDIS_FORM}, or {_SENTINEL_FORM}")
    problems.extend(f"REDIS_URL: unsupported parameter {name}; remove it" for name in params)
    if tls and requested.tls is False:
        problems.append(f"REDIS_URL: {url.scheme}:// and a parameter contradict each other about TLS")
    target = msgspec.structs.replace(where, username=url.user, password=url.password)
    return target, msgspec.structs.replace(requested, tls=tls or requested.tls)


def parse_rabbitmq_url(text: str, problems: list[str]) -> tuple[RabbitMqTarget, TlsRequest]:
    """The target of a RABBITMQ_URL, without TLS, and what the URL requests about TLS. Raises ConfigError.

    Without user and password they are guest, and without a virtual host it is `/`, as in RabbitMQ's own clients.
    """
    url = _split("RABBITMQ_URL", text, _RABBITMQ_FORM)
    if url.scheme not in _RABBITMQ_PORTS:
        raise _refusal("RABBITMQ_URL", _RABBITMQ_FORM)
    if "," in url.where:
        raise _refusal("RABBITMQ_URL", "one host", _ENCODE)
    if "/" in url.path[1:]:
        raise _refusal("RABBITMQ_URL", "one virtual host after the host", _ENCODE)
    params, requested = classify_parameters("rabbitmq", url.params, problems)
    problems.extend(f"RABBITMQ_URL: unsupported parameter {name}; remove it" for name in params)
    host, port = _address(url, url.where, _RABBITMQ_FORM)
    target = RabbitMqTarget(
        host=host,
        port=port or _RABBITMQ_PORTS[url.scheme],
        user=url.user or "guest",
        password=url.password or "guest",
        vhost=url.name or "/",
    )
    return target, msgspec.structs.replace(requested, tls=True if url.scheme == "amqps" else None)


def names_database(text: str) -> bool:
    """Whether a DATABASE_URL, valid or not, has a database's name."""
    match = _URL.fullmatch(text)
    return match is None or len(match["path"]) > 1


def passwords_in(setting: str, text: str) -> set[str]:
    """The password in a URL, as written and decoded; an empty text if there is none."""
    match = _URL.fullmatch(text)
    written = (match["login"] or "").partition(":")[2] if match else ""
    return {written, _decoded(setting, written)}


def _sentinels(url: Url) -> RedisTarget:
    """The target of a URL of sentinels; user and password are the master's, REDIS_SENTINEL_PASSWORD the sentinels'."""
    name, _, number = url.path.strip("/").partition("/")
    try:
        addresses = sentinel_addresses(url.where.replace("%25", "%"))
        sentinels = Sentinels(addresses=addresses, master=sentinel_name(name))
    except ValueError:
        raise _refusal("REDIS_URL", _SENTINEL_FORM, _ENCODE) from None
    return RedisTarget(sentinels=sentinels, db=_database_number(number, "the master's name"))


def _servers(url: Url, dialect: Dialect) -> tuple[str, int | None]:
    """The host and the port. Of several seeds the port is the last one's, and the host all that comes before it."""
    *seeds, (host, port) = (
        _address(url, address, _DATABASE_FORM)
        for address in (url.where.split(",") if dialect == "mongo" else [url.where])
    )
    if url.scheme == "mongodb+srv":
        if port or seeds:
            raise _refusal(
                "DATABASE_URL", "one host and no port with mongodb+srv://", "DNS returns the servers and their ports"
            )
        return host, None
    host = ",".join([*(host_port_text(*seed) for seed in seeds), host_port_text(host)]) if seeds else host
    return host, port or _DEFAULT_PORT[dialect]


def _address(url: Url, text: str, form: str) -> tuple[str, int | None]:
    try:
        host, port = host_and_port(text.replace("%25", "%"))  # before the zone of an IPv6 address
    except ValueError:
        port = 0
    if port == 0:
        raise _refusal(url.setting, f"{form}, with a port (1-65535) and IPv6 in brackets", _ENCODE)
    return host, port


def _database_number(text: str, after: str) -> int:
    if not re.fullmatch(r"[0-9]{0,2}", text) or int(text or "0") > 15:
        raise _refusal("REDIS_URL", f"a database number (0-15) after {after}", _ENCODE)
    return int(text or "0")


def _split(setting: str, text: str, form: str) -> Url:
    match = _URL.fullmatch(text)
    if match is None or has_hidden_characters(text):
        raise _refusal(setting, form, _ENCODE)
    pairs = parse_qsl(match["query"] or "", keep_blank_values=True)
    if not all(re.fullmatch(r"[A-Za-z][\w.-]*", name, re.ASCII) for name, _ in pairs):
        raise _refusal(setting, "name=value after a question mark", _ENCODE)
    if len(dict(pairs)) < len(pairs):
        raise _refusal(setting, "each parameter once")
    user, colon, password = (match["login"] or "").partition(":")
    return Url(
        setting=setting,
        scheme=match["scheme"].lower(),
        user=_decoded(setting, user) or None,
        password=_decoded(setting, password, is_password=True) if colon else None,
        where=match["where"] or "",
        path=match["path"],
        params=dict(pairs),
    )


def _decoded(setting: str, text: str, *, is_password: bool = False) -> str:
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise _refusal(setting, "percent-encoded UTF-8") from None
    if "\0" in decoded or (has_hidden_characters(decoded) and not is_password):
        raise _refusal(setting, "a user and names without control characters")
    return decoded


def _refusal(setting: str, expected: str, remedy: str = "") -> ConfigError:
    return ConfigError([f"{setting}: expected {expected}, got ***" + (f"; {remedy}" if remedy else "")])
