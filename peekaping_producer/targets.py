"""Where the servers are that this program talks to. Plain values: settings make them, drivers take them."""

from typing import Literal

import msgspec


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """How a connection is encrypted; the server's certificate is verified unless `verify` says otherwise."""

    verify: bool = True
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


class RedisTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A Redis server."""

    host: str
    port: int
    db: int = 0
    username: str | None = None
    password: str | None = None
    tls: Tls | None = None

    def __str__(self) -> str:
        return f"{'rediss' if self.tls else 'redis'}://{self.host}:{self.port}/{self.db}"

    __repr__ = __str__


class DatabaseTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A database. For sqlite only `dialect` and `name` (the file's path) count.

    For mongo, `host` may hold several seeds, `h1:27017,h2`, of which the last has `port`; without a port it is the
    name of a DNS record that lists the servers (mongodb+srv://).
    """

    dialect: Literal["postgres", "mysql", "sqlite", "mongo"]
    name: str
    host: str | None = None
    port: int | None = None
    user: str | None = None
    password: str | None = None
    tls: Tls | None = None
    params: dict[str, str] = {}
    """What else a DATABASE_URL said after its question mark; each driver names those it does not know."""

    def __str__(self) -> str:
        if self.dialect == "sqlite":
            return f"sqlite:{self.name}"
        port = "" if self.port is None else f":{self.port}"
        return f"{self.dialect}://{self.host}{port}/{self.name}"

    __repr__ = __str__
