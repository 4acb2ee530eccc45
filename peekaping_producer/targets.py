"""Addresses and credentials of the servers: plain values, made by settings and read by drivers."""

import re
from typing import Literal
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import msgspec

Dialect = Literal["postgres", "mysql", "sqlite", "mongo"]

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?:(?P<login>[^/?#]*)@)?(?P<place>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#.*)?"
)
_MASK = "***"
_MIN_VALUE = 8
"""A mask for every `true` or `prod` of a query would garble log lines."""


def host_port_text(host: str | None, port: int | None = None) -> str:
    """Return `host:port`, with the brackets that an IPv6 address needs."""
    is_ipv6 = host and host.count(":") > 1 and not re.search(r"[\[\],/]", host)
    text = f"[{host}]" if is_ipv6 else str(host)
    return text if port is None else f"{text}:{port}"


def shown_url(url: str) -> str:
    """Return `url` without its secrets: user and password, the values of the query, and the fragment.

    Where a password may end is unclear if an @ follows later: then only the scheme is left.
    """
    match = _URL.fullmatch(url)
    if match is None or "@" in url[match.end("login") + 1 :]:
        return f"{url.partition('://')[0]}://{_MASK}" if "://" in url else _MASK
    login = f"{_MASK}@" if match["login"] else ""
    query = "&".join(f"{name}={_MASK}" if equals else _MASK for name, equals, _ in _parameters(match["query"] or ""))
    return f"{match['scheme']}://{login}{match['place']}" + (f"?{query}" if query else "")


def secrets_in_url(url: str) -> set[str]:
    """The texts that `shown_url` masks, as written and decoded. Short values of the query are masked only within it."""
    match = _URL.fullmatch(url)
    if match is None:
        return {url}
    user, _, password = (match["login"] or "").partition(":")
    query = match["query"] or ""
    values = {value for _, _, value in _parameters(query) if len(value) >= _MIN_VALUE}
    written = {password or user, query, *values} - {""}
    return written | {unquote(text) for text in written}


def url_below(url: str, path: str) -> str:
    """Return the URL of `path` below the base `url`; its query is kept."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + path, fragment=""))


def _parameters(query: str) -> list[tuple[str, str, str]]:
    """Name, equals sign and value of each parameter; the last two are empty in a parameter without a value."""
    return [parameter.partition("=") for parameter in query.split("&") if parameter]


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """How a connection is encrypted; the server's certificate is verified if `verify` is true."""

    verify: bool = True
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


class Sentinels(msgspec.Struct, frozen=True, kw_only=True):
    """Redis Sentinel: (host, port) of each sentinel, the name of the master, and the sentinels' own password."""

    addresses: tuple[tuple[str, int], ...]
    master: str
    password: str | None = None

    def __str__(self) -> str:
        return ",".join(host_port_text(*address) for address in self.addresses)

    __repr__ = __str__


class RedisTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A Redis server: the one at host:port, or the master that `sentinels` name (host and port are ignored then)."""

    host: str = ""
    port: int = 0
    sentinels: Sentinels | None = None
    db: int = 0
    username: str | None = None
    password: str | None = None
    tls: Tls | None = None

    def __str__(self) -> str:
        scheme = "rediss" if self.tls else "redis"
        if self.sentinels:
            return f"{scheme}+sentinel://{self.sentinels}/{self.sentinels.master}/{self.db}"
        return f"{scheme}://{host_port_text(self.host, self.port)}/{self.db}"

    __repr__ = __str__


class RabbitMqTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual host of a RabbitMQ server, and the queue in it."""

    host: str = "localhost"
    port: int = 5672
    user: str = "guest"
    password: str = "guest"  # noqa: S105 - RabbitMQ's own default
    vhost: str = "/"
    tls: Tls | None = None
    heartbeat_s: float = 600
    """RabbitMQ closes a connection that is silent for about twice this time; 0 disables heartbeats."""
    queue: str = "messages"
    queue_type: Literal["classic", "quorum"] = "classic"
    """Of queues that do not exist yet."""
    blocked_timeout_s: float = 300
    """How long to wait for a confirmation, also of a broker that blocks publishers, before connecting again."""
    retention_days: int | None = None
    """How long the stream `<queue>.copy` keeps a copy of each message; None: there is none."""

    def __str__(self) -> str:
        scheme = "amqps" if self.tls else "amqp"
        return f"{scheme}://{host_port_text(self.host, self.port)}/{quote(self.vhost, safe='')}"

    __repr__ = __str__


class HttpTarget(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP endpoint that accepts one message in each POST."""

    url: str
    token: str | None = None
    """Sent as a Bearer token."""
    user_agent: str = "peekaping-producer"
    success: frozenset[int] = frozenset(range(200, 300))
    """The statuses that confirm a message, whatever the body contains."""
    attempts: int = 3
    """For each message, until the endpoint counts as unavailable."""
    retry_delay_s: float = 1.0
    """Between attempts; a Retry-After of the endpoint replaces it."""
    timeout_s: float = 30.0
    """For one attempt as a whole, from the connection to the end of the body."""
    in_flight: int = 1
    """Requests at the same time. With more than 1, messages may arrive in another order."""

    def __str__(self) -> str:
        return shown_url(self.url)

    __repr__ = __str__


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """One interpretation of DB_USER, DB_PASS and DB_NAME."""

    user: str | None
    password: str | None
    name: str

    def __str__(self) -> str:
        return f"user {self.user}, database {self.name}"

    __repr__ = __str__


class DatabaseTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A database. For sqlite only `dialect` and `name` (the file's path) are used.

    For mongo, `host` may hold several seeds, `h1:27017,h2`, of which the last has `port`; without a port it is the
    name of a DNS record that lists the servers (mongodb+srv://).
    """

    dialect: Dialect
    name: str
    host: str | None = None
    port: int | None = None
    user: str | None = None
    password: str | None = None
    tls: Tls | None = None
    params: dict[str, str] = {}
    """The query of a DATABASE_URL; each driver refuses the parameters that it does not support."""
    named_in: Literal["DB_NAME", "DATABASE_URL"] = "DB_NAME"
    """The setting that contains `name`, for messages about sqlite files."""
    alternates: tuple[Login, ...] = ()
    """Other interpretations of user, password and name: percent-decoded, as Peekaping's Go services read DB_*.

    Ordered and distinct. A store tries the next one only if the server refuses the user, the password or the
    database's name, and keeps the one that works.
    """

    @property
    def candidates(self) -> "tuple[DatabaseTarget, ...]":
        """The targets to try, in order: this one, then one for each alternate. None of them has alternates."""
        first = msgspec.structs.replace(self, alternates=())
        return first, *(
            msgspec.structs.replace(first, user=each.user, password=each.password, name=each.name)
            for each in self.alternates
        )

    def __str__(self) -> str:
        if self.dialect == "sqlite":
            return f"sqlite:{self.name}"
        return f"{self.dialect}://{host_port_text(self.host, self.port)}/{self.name}"

    __repr__ = __str__
