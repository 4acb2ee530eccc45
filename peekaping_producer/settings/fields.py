"""Every setting: its type, its default, and the line that the docs print for it."""

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from peekaping_producer.settings.sentinels import MASTER_FORM
from peekaping_producer.settings.types import (
    Address,
    DatabaseHost,
    DbType,
    Host,
    Level,
    Lower,
    Port,
    ReadableFile,
    Seconds,
    SentinelAddresses,
    SentinelName,
    Setting,
    Whole,
)

_HOST = "a host name or address; a URL goes into {}"
_FILE = "the path of a readable file"
_BOOL = "true or false"
_PORT = "a port, 1 to 65535"
_ON = "true if the URL asks for it, else false"
_UNLESS_SQLITE = "required, except for sqlite"


def _ten_for_zero(workers: int) -> int:
    """Peekaping's Go producer takes 0 as "not set"."""
    return workers or 10


class Fields(BaseSettings):
    """All settings, checked one by one; None is a setting that is not set. Durations are in seconds."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    db_type: Annotated[
        DbType | None,
        Lower,
        Setting("The kind of database.", " | ".join(get_args(DbType)) + ", in any case", "database", "required"),
    ] = None
    db_host: Annotated[
        DatabaseHost | None, Setting("The database's host.", _HOST.format("DATABASE_URL"), "database", _UNLESS_SQLITE)
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
    redis_username: Annotated[str | None, Setting("Redis's user (ACL).", "any text", "redis", "the default user")] = (
        None
    )
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
        Seconds,
        Field(ge=1, le=3600),
        Setting("How long a claim holds before others may take it.", "1 to 3600 seconds", "producer"),
    ] = 10
    sync_interval: Annotated[
        float,
        Seconds,
        Field(ge=0.1, le=3600),
        Setting("How often the leader compares database and schedule.", "0.1 to 3600 seconds", "producer"),
    ] = 30
    shutdown_grace: Annotated[
        float,
        Seconds,
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
        str,
        Setting(
            "The zone of maintenance windows that are in the server's zone.", "an IANA zone, or a zone file", "producer"
        ),
    ] = "UTC"

    startup_timeout: Annotated[
        float,
        Seconds,
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


def about(name: str) -> Setting:
    """What is said about a field."""
    return next(each for each in Fields.model_fields[name].metadata if isinstance(each, Setting))
