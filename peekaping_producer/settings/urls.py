"""DATABASE_URL and REDIS_URL, taken apart. No message shows any part of a URL: it may hold a password."""

import re
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from peekaping_producer.errors import ConfigError
from peekaping_producer.settings.sentinels import sentinel_addresses, sentinel_name
from peekaping_producer.targets import DatabaseTarget, Dialect, RedisTarget, Sentinels

DIALECTS: dict[str, Dialect] = {
    "postgres": "postgres",
    "postgresql": "postgres",
    "mysql": "mysql",
    "mariadb": "mysql",
    "sqlite": "sqlite",
    "mongodb": "mongo",
    "mongodb+srv": "mongo",
}
_DATABASE_FORM = "postgres://, mysql://, mongodb:// or mongodb+srv:// user:password@host:port/name, or sqlite:///path"
_REDIS_FORM = "redis:// or rediss:// user:password@host:port/db"
_SENTINEL_FORM = "redis+sentinel:// or rediss+sentinel:// user:password@host:port,host:port/master-name/db"
_ENCODE = "characters such as / ? # % in a name or password are written percent-encoded"
_SEEDS = re.compile(
    r"(?P<before>mongodb://(?:[^/@]*@)?)(?P<seeds>(?:(?:[\w.-]+|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?,)+)(?P<after>[^,@]*)"
)
_TLS_IN_URL: dict[Dialect, dict[str, dict[str, bool]]] = {
    "postgres": {"sslmode": {"disable": False, "require": True, "verify-ca": True, "verify-full": True}},
    "mysql": {"ssl-mode": {"disabled": False, "required": True, "verify_ca": True, "verify_identity": True}},
    "mongo": {name: {"false": False, "true": True} for name in ("tls", "ssl")},
}
"""What each database's own URLs say about TLS, and whether that asks for it."""
_DEFAULT_PORT: dict[str, int | None] = {"postgres": 5432, "mysql": 3306, "mongo": 27017}


def parse_database_url(url: str) -> DatabaseTarget:
    """The target that a DATABASE_URL names, without TLS; `params` holds what follows its question mark.

    `sqlite:///x.db` is relative to the working directory and `sqlite:////x.db` absolute, as in SQLAlchemy. Only
    mongodb+srv:// has no port: its servers come from DNS. The host of a MongoDB replica set is all of its seeds but for
    the last one's port: `h1:27017,h2`. Raises ConfigError.
    """
    seeds, url = _split_seeds(url)
    parts = _split("DATABASE_URL", url, _DATABASE_FORM)
    dialect = DIALECTS.get(parts.scheme)
    if dialect is None:
        raise _refusal("DATABASE_URL", f"takes {_DATABASE_FORM}")
    if dialect == "sqlite" and not re.match("sqlite:///.", url):
        raise _refusal("DATABASE_URL", "takes sqlite:///path with three slashes, or four for an absolute path")
    name = _decoded("DATABASE_URL", parts.path[1:])
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    params = dict(pairs)
    if len(params) < len(pairs):
        raise _refusal("DATABASE_URL", "takes each parameter once")
    if not name:
        raise _refusal("DATABASE_URL", "takes a database name (sqlite: a path) after the host")
    if dialect == "sqlite":
        return DatabaseTarget(dialect=dialect, name=name, params=params)
    if "/" in parts.path[1:] or "@" in parts.path:
        raise _refusal("DATABASE_URL", f"takes one name after the host; {_ENCODE}")
    user, password = _userinfo("DATABASE_URL", parts)
    if not parts.hostname or "," in parts.hostname or (user is None and dialect != "mongo"):
        raise _refusal("DATABASE_URL", f"takes a host and a user: {_DATABASE_FORM}")
    if parts.scheme == "mongodb+srv" and parts.port:
        raise _refusal("DATABASE_URL", "takes no port with mongodb+srv://: DNS names the servers and their ports")
    port = None if parts.scheme == "mongodb+srv" else parts.port or _DEFAULT_PORT[dialect]
    return DatabaseTarget(
        dialect=dialect, name=name, host=seeds + parts.hostname, port=port, user=user, password=password, params=params
    )


def tls_in_url(dialect: Dialect, params: dict[str, str], problems: list[str]) -> bool | None:
    """Whether a URL's parameters ask for TLS, None where they say nothing; those that speak of it are taken out.

    Postgres' prefer and allow, and MySQL's preferred, are refused: with them the server, or who poses as it, decides.
    """
    said: set[bool] = set()
    for name, modes in _TLS_IN_URL.get(dialect, {}).items():
        mode = params.pop(name, None)
        if mode is not None and mode.lower() not in modes:
            problems.append(f"DATABASE_URL: got a value of {name} that is not taken, takes {', '.join(modes)}")
        elif mode is not None:
            said.add(modes[mode.lower()])
    if len(said) > 1:
        problems.append("DATABASE_URL: got tls and ssl that contradict each other, takes one of them")
    return said.pop() if said else None


def parse_redis_url(url: str) -> tuple[RedisTarget, bool]:
    """The target that a REDIS_URL names, without TLS, and whether it asks for TLS (rediss://, rediss+sentinel://).

    Raises ConfigError.
    """
    if url.partition("://")[0].lower() in {"redis+sentinel", "rediss+sentinel"}:
        return _parse_sentinel_url(url)
    parts = _split("REDIS_URL", url, _REDIS_FORM)
    if parts.scheme not in {"redis", "rediss"} or not parts.hostname:
        raise _refusal("REDIS_URL", f"takes {_REDIS_FORM}, or {_SENTINEL_FORM}")
    _no_query(parts)
    user, password = _userinfo("REDIS_URL", parts)
    db = _database_number(parts.path.strip("/"), "the host")
    target = RedisTarget(host=parts.hostname, port=parts.port or 6379, db=db, username=user, password=password)
    return target, parts.scheme == "rediss"


def _parse_sentinel_url(url: str) -> tuple[RedisTarget, bool]:
    """User and password are those of the master; the sentinels' own password is a setting of its own."""
    refusal = _refusal("REDIS_URL", f"takes {_SENTINEL_FORM}; {_ENCODE}")
    try:
        parts = urlsplit(url)
        addresses = sentinel_addresses(parts.netloc.rpartition("@")[2])
        name, _, db = parts.path.strip("/").partition("/")
        sentinels = Sentinels(addresses=addresses, master=sentinel_name(name))
    except ValueError:
        raise refusal from None
    if "#" in url:
        raise refusal
    _no_query(parts)
    user, password = _userinfo("REDIS_URL", parts)
    number = _database_number(db, "the master's name")
    target = RedisTarget(sentinels=sentinels, db=number, username=user, password=password)
    return target, parts.scheme == "rediss+sentinel"


def _no_query(parts: SplitResult) -> None:
    if parts.query:
        raise _refusal("REDIS_URL", "takes nothing after a question mark; TLS options are settings of their own")


def _database_number(text: str, after: str) -> int:
    if not re.fullmatch(r"[0-9]{0,2}", text) or int(text or "0") > 15:
        raise _refusal("REDIS_URL", f"takes a database number from 0 to 15 after {after}; {_ENCODE}")
    return int(text or "0")


def _split_seeds(url: str) -> tuple[str, str]:
    """What stands before the last of several mongodb:// hosts, and the URL without it."""
    found = _SEEDS.fullmatch(url)
    return (found["seeds"], found["before"] + found["after"]) if found else ("", url)


def _split(setting: str, url: str, form: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refusal(setting, f"takes {form}, with a port from 1 to 65535; {_ENCODE}") from None
    if port == 0 or "#" in url:
        raise _refusal(setting, f"takes {form}, with a port from 1 to 65535; {_ENCODE}")
    return parts


def _userinfo(setting: str, parts: SplitResult) -> tuple[str | None, str | None]:
    user, password = (
        None if each is None else _decoded(setting, each) for each in (parts.username or None, parts.password)
    )
    return user, password


def _decoded(setting: str, text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise _refusal(setting, "takes UTF-8 in what is percent-encoded") from None


def _refusal(setting: str, takes: str) -> ConfigError:
    return ConfigError([f"{setting}: got ***, {takes}"])
