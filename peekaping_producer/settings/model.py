"""Every setting, with the line that the docs print for it; and the targets that the settings add up to."""

from typing import Annotated, Literal, Self, get_args
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

import msgspec
from pydantic import AfterValidator, Field, PrivateAttr, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from peekaping_producer.errors import ConfigError
from peekaping_producer.settings.kinds import (
    Address,
    DbType,
    Decimal,
    Host,
    Level,
    Lower,
    Port,
    ReadableFile,
    SentinelAddresses,
    SentinelName,
    Setting,
    Whole,
    listening_address,
)
from peekaping_producer.settings.sentinels import MASTER_FORM, from_parts, with_password
from peekaping_producer.settings.urls import DIALECTS, Dialect, parse_database_url, parse_redis_url, tls_in_url
from peekaping_producer.targets import DatabaseTarget, RedisTarget, Tls

_HOST = "a host name or address; a URL goes into {}"
_FILE = "the path of a readable file"
_BOOL = "true or false"
_PORT = "a port, 1 to 65535"
_ON = "true if the URL asks for it, else false"
_UNLESS_SQLITE = "required, except for sqlite"


def _ten_for_zero(workers: int) -> int:
    """Peekaping's Go producer takes 0 as "not set"."""
    return workers or 10


class Settings(BaseSettings):
    """All settings, checked one by one. Durations are in seconds.

    The targets check what only the settings together can tell; both they and `load_settings` raise ConfigError.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    db_type: Annotated[
        DbType | None,
        Lower,
        Setting("The kind of database.", " | ".join(get_args(DbType)) + ", in any case", "database", "required"),
    ] = None
    db_host: Annotated[
        Host | None, Setting("The database's host.", _HOST.format("DATABASE_URL"), "database", _UNLESS_SQLITE)
    ] = None
    db_port: Annotated[Port | None, Setting("The database's port.", _PORT, "database", _UNLESS_SQLITE)] = None
    db_name: Annotated[
        str | None, Setting("The database's name; for sqlite the file's path.", "any text", "database", "required")
    ] = None
    db_user: Annotated[str | None, Setting("The database's user.", "any text", "database", _UNLESS_SQLITE)] = None
    db_pass: Annotated[SecretStr | None, Setting("Its password.", "any text", "database", _UNLESS_SQLITE)] = None
    database_url: Annotated[
        SecretStr | None,
        Setting(
            "The whole database in one URL. It wins: host, port, name, user and password above are then not read.",
            "postgres://, mysql://, mongodb://, mongodb+srv:// or sqlite:///path",
            "database",
        ),
    ] = None
    db_tls: Annotated[bool | None, Setting("Encrypt the database connection.", _BOOL, "database", _ON)] = None
    db_tls_verify: Annotated[bool, Setting("Verify the server's certificate and name.", _BOOL, "database")] = True
    db_tls_ca_file: Annotated[
        ReadableFile | None, Setting("Who may sign it, in PEM.", _FILE, "database", "the system's authorities")
    ] = None
    db_tls_cert_file: Annotated[ReadableFile | None, Setting("Our certificate, in PEM.", _FILE, "database")] = None
    db_tls_key_file: Annotated[
        ReadableFile | None, Setting("Its key, where the certificate's file does not hold it.", _FILE, "database")
    ] = None

    redis_host: Annotated[Host, Setting("Redis's host.", _HOST.format("REDIS_URL"), "redis")] = "redis"
    redis_port: Annotated[Port, Setting("Redis's port.", _PORT, "redis")] = 6379
    redis_password: Annotated[SecretStr | None, Setting("Redis's password.", "any text", "redis", "no password")] = None
    redis_db: Annotated[int, Whole, Field(ge=0, le=15), Setting("Redis's database number.", "0 to 15", "redis")] = 0
    redis_url: Annotated[
        SecretStr | None,
        Setting(
            "The whole Redis server in one URL. It wins: host, port, password, database number and the names of "
            "sentinels are then not read.",
            "redis:// or rediss:// (with TLS) user:password@host:port/db, "
            "or redis+sentinel:// or rediss+sentinel:// user:password@host:port,host:port/master-name/db",
            "redis",
        ),
    ] = None
    redis_sentinels: Annotated[
        SentinelAddresses | None,
        Setting(
            "The sentinels that know where Redis is. They win: REDIS_HOST and REDIS_PORT are then not read.",
            "host:port,host:port; the port may be left out (26379)",
            "redis",
        ),
    ] = None
    redis_sentinel_master: Annotated[
        SentinelName | None,
        Setting("What the sentinels call it.", MASTER_FORM, "redis", "required with `REDIS_SENTINELS`"),
    ] = None
    redis_sentinel_password: Annotated[
        SecretStr | None, Setting("The sentinels' own password.", "any text", "redis", "no password")
    ] = None
    redis_tls: Annotated[bool | None, Setting("Encrypt the Redis connection.", _BOOL, "redis", _ON)] = None
    redis_tls_verify: Annotated[bool, Setting("Verify the server's certificate and name.", _BOOL, "redis")] = True
    redis_tls_ca_file: Annotated[
        ReadableFile | None, Setting("Who may sign it, in PEM.", _FILE, "redis", "the system's authorities")
    ] = None
    redis_tls_cert_file: Annotated[ReadableFile | None, Setting("Our certificate, in PEM.", _FILE, "redis")] = None
    redis_tls_key_file: Annotated[
        ReadableFile | None, Setting("Its key, where the certificate's file does not hold it.", _FILE, "redis")
    ] = None

    producer_concurrency: Annotated[
        int,
        Whole,
        Field(ge=0, le=128),
        AfterValidator(_ten_for_zero),
        Setting("Workers in this process. 0 is taken as 10.", "1 to 128", "producer"),
    ] = 10
    claim_batch: Annotated[
        int, Whole, Field(ge=1, le=1000), Setting("Monitors that a worker claims at once.", "1 to 1000", "producer")
    ] = 500
    lease_ttl: Annotated[
        float,
        Decimal,
        Field(ge=1, le=3600),
        Setting("How long a claim holds before others may take it.", "1 to 3600 seconds", "producer"),
    ] = 10
    sync_interval: Annotated[
        float,
        Decimal,
        Field(ge=0.1, le=3600),
        Setting("How often the leader compares database and schedule.", "0.1 to 3600 seconds", "producer"),
    ] = 30
    shutdown_grace: Annotated[
        float,
        Decimal,
        Field(ge=0.1, le=3600),
        Setting("How long a stop may take to finish what is in hand.", "0.1 to 3600 seconds", "producer"),
    ] = 20
    metrics_addr: Annotated[
        Address,
        Setting(
            "Where probes and metrics are served. Port 0 takes a free one.",
            "host:port, [IPv6]:port, or off (also when empty)",
            "producer",
        ),
    ] = "127.0.0.1:9464"
    tz: Annotated[
        str, Setting("The zone of maintenance windows that are in the server's zone.", "an IANA zone", "producer")
    ] = "UTC"

    startup_timeout: Annotated[
        float,
        Decimal,
        Field(ge=0.1, le=3600),
        Setting("How long to wait at start for Redis and the database.", "0.1 to 3600 seconds"),
    ] = 60
    mode: Annotated[
        Literal["dev", "prod", "test"],
        Setting("dev logs coloured lines, prod and test log JSON.", "dev | prod | test"),
    ] = "dev"
    log_level: Annotated[
        Level,
        Lower,
        Setting(
            "What is logged, from this level up.",
            "debug | info | warn | error, or zap's warning, dpanic, panic, fatal; in any case",
        ),
    ] = "debug"
    service_name: Annotated[str, Setting("The service that every log line names.", "any text")] = "peekaping:producer"

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the caller gives: `load_settings` reads the environment, and a test's Settings depend on none."""
        return (init_settings,)

    def origin(self, name: str) -> str:
        """Where the setting `name` (DB_HOST) came from: environment, .env, file, default, or not read."""
        return self._origins.get(name, "default")

    def with_origins(self, origins: dict[str, str]) -> Self:
        """The same settings, knowing where they came from."""
        copy = self.model_copy()
        copy._origins = origins
        return copy

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """(host, port) of probes and metrics; None where they are off."""
        return listening_address(self.metrics_addr)

    @property
    def metrics_addr_explicit(self) -> bool:
        """Whether METRICS_ADDR was given: then its port must be free."""
        return "metrics_addr" in self.model_fields_set

    @property
    def warnings(self) -> tuple[str, ...]:
        """What works, but hardly as meant: a sentence each."""
        said = []
        try:
            ZoneInfo(self.tz.removeprefix(":"))  # POSIX allows TZ=:Europe/Berlin
        except (LookupError, ValueError, OSError):
            said.append(f"TZ: got {self.tz!r}, which is no IANA zone: UTC is used.")
        for name in ("db_tls", "redis_tls"):
            if not getattr(self, f"{name}_verify"):
                said.append(f"{name.upper()}_VERIFY: got false: whoever answers there is believed to be the server.")
        return tuple(said)

    @property
    def secrets(self) -> frozenset[str]:
        """Every text that must not be shown: passwords, and URLs with the passwords in them, as written and decoded."""
        texts = [value.get_secret_value() for _, value in self if isinstance(value, SecretStr)]
        texts += [unquote(self.db_pass.get_secret_value())] if self.db_pass else []
        for url, parse in ((self.database_url, parse_database_url), (self.redis_url, parse_redis_url)):
            if url is not None:
                parsed = parse(url.get_secret_value())
                target = parsed[0] if isinstance(parsed, tuple) else parsed
                texts += [target.password or "", urlsplit(url.get_secret_value()).password or ""]
        return frozenset(filter(None, texts))

    def redis_target(self) -> RedisTarget:
        """The Redis server meant. Raises ConfigError."""
        problems: list[str] = []
        encrypted = None
        if self.redis_url:
            target, tls_asked = parse_redis_url(self.redis_url.get_secret_value())
            encrypted = tls_asked or None
        else:
            target = RedisTarget(
                host=self.redis_host,
                port=self.redis_port,
                sentinels=from_parts(self.redis_sentinels, self.redis_sentinel_master, problems),
                db=self.redis_db,
                password=_text(self.redis_password),
            )
        sentinels = target.sentinels
        if sentinels or not self.redis_sentinels:  # else it is said already what is wrong with them
            sentinels = with_password(sentinels, _text(self.redis_sentinel_password), problems)
        target = msgspec.structs.replace(target, sentinels=sentinels, tls=self._tls("redis_tls", encrypted, problems))
        if problems:
            raise ConfigError(problems)
        return target

    def database_target(self) -> DatabaseTarget:
        """The database meant. Raises ConfigError."""
        problems: list[str] = []
        url = self.database_url
        target = self._database_in_url(url, problems) if url else self._database_in_parts(problems)
        if target.dialect != "sqlite":
            params = dict(target.params)
            encrypted = tls_in_url(target.dialect, params, problems)
            if target.dialect == "mongo" and target.port is None and encrypted is None:
                encrypted = True  # mongodb+srv:// means TLS
            tls = self._tls("db_tls", encrypted, problems)
            target = msgspec.structs.replace(target, params=params, tls=tls)
        if problems:
            raise ConfigError(problems)
        return target

    def _database_in_url(self, url: SecretStr, problems: list[str]) -> DatabaseTarget:
        target = parse_database_url(url.get_secret_value())
        if self.db_type and _dialect(self.db_type) != target.dialect:
            problems.append(
                f"DB_TYPE: got {self.db_type!r}, takes what DATABASE_URL says ({target.dialect}), or to be left out"
            )
        return target

    def _database_in_parts(self, problems: list[str]) -> DatabaseTarget:
        needed = ["db_type", "db_name"]
        if self.db_type not in {None, "sqlite"}:
            needed += ["db_host", "db_port", "db_user", "db_pass"]
        for name in needed:
            if getattr(self, name) is None:
                problems.append(f"{name.upper()}: is not set, takes {about(name).takes} (or set DATABASE_URL)")
        dialect = _dialect(self.db_type or "postgres")
        user, password = self.db_user, _text(self.db_pass)
        if dialect == "mongo":  # the Go services glue both into a URL, so that they stand percent-encoded there
            user, password = user and unquote(user), password and unquote(password)
        return DatabaseTarget(
            dialect=dialect,
            name=self.db_name or "",
            host=self.db_host,
            port=self.db_port,
            user=user,
            password=password,
        )

    def _tls(self, name: Literal["db_tls", "redis_tls"], encrypted: bool | None, problems: list[str]) -> Tls | None:
        """`encrypted`: what the URL says about it, None where it says nothing."""
        asked: bool | None = getattr(self, name)
        files: dict[str, str | None] = {
            part: getattr(self, f"{name}_{part}") for part in ("ca_file", "cert_file", "key_file")
        }
        shown = name.upper()
        if None not in (asked, encrypted) and asked != encrypted:
            problems.append(f"{shown}: got {str(asked).lower()}, takes what the URL says, or to be left out")
        if not (encrypted if asked is None else asked):
            given = [part for part, path in files.items() if path]
            problems.extend(f"{shown}_{part.upper()}: is set, but TLS is off: takes {shown}=true" for part in given)
            return None
        if files["key_file"] and not files["cert_file"]:
            problems.append(f"{shown}_KEY_FILE: is set alone, takes {shown}_CERT_FILE beside it")
        return Tls(verify=getattr(self, f"{name}_verify"), **files)


def _text(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def about(name: str) -> Setting:
    """What is said about a field of Settings."""
    return next(each for each in Settings.model_fields[name].metadata if isinstance(each, Setting))


def _dialect(db_type: DbType) -> Dialect:
    return "mongo" if db_type == "mongo" else DIALECTS[db_type]
