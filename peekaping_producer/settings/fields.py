"""Every setting, one class for each system: its type, default and description. Durations are in seconds."""

from collections.abc import Collection
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, Field, SecretStr

from peekaping_producer.settings.sentinels import MASTER_FORM
from peekaping_producer.settings.types import (
    QUEUE_NAME_FORM,
    Address,
    DatabaseHost,
    DbType,
    Host,
    HttpUrl,
    Level,
    Lower,
    Port,
    QueueName,
    ReadableFile,
    Retention,
    Seconds,
    SentinelAddresses,
    SentinelName,
    Setting,
    WebUrl,
    Whole,
)

_TEXT = "any text"
_HOST = "a host name or address"
_BOOL = "true or false"
_PORT = "a port (1-65535)"
_FILE = "the path of a readable file"
_WEB_URL = "an http:// or https:// URL"
_UP_TO_AN_HOUR = "0.1 to 3600 seconds"
_DB_TYPES = " | ".join(get_args(DbType)) + ", case-insensitive"
_UNLESS_SQLITE = "required, except for sqlite"

_Tls = Annotated[bool | None, Setting("Encrypt the connection.", _BOOL, "false, or what the URL requests")]
_TlsVerify = Annotated[bool, Setting("Verify the server's certificate and host name.", _BOOL)]
_TlsCa = Annotated[
    ReadableFile | None, Setting("Trusted CA certificates (PEM).", _FILE, "the system's CA certificates")
]
_TlsCert = Annotated[ReadableFile | None, Setting("The client's certificate (PEM).", _FILE)]
_TlsKey = Annotated[
    ReadableFile | None, Setting("The client's private key (PEM), if the certificate file does not contain it.", _FILE)
]
_Duration = Annotated[float, Seconds, Field(ge=0.1, le=3600)]


def _ten_for_zero(workers: int) -> int:
    """Peekaping's Go producer reads 0 as "not set"."""
    return workers or 10


class _Group(BaseModel, defer_build=True):
    """Only the class that combines all groups is used for validation: building validators takes time."""


class Database(_Group):
    """The database with Peekaping's tables."""

    db_type: Annotated[DbType | None, Lower, Setting("The kind of database.", _DB_TYPES, "required")] = None
    db_host: Annotated[DatabaseHost | None, Setting("The database's host.", _HOST, _UNLESS_SQLITE)] = None
    db_port: Annotated[Port | None, Setting("The database's port.", _PORT, _UNLESS_SQLITE)] = None
    db_name: Annotated[str | None, Setting("The database's name (sqlite: the file's path).", _TEXT, "required")] = None
    db_user: Annotated[str | None, Setting("The database's user.", _TEXT, _UNLESS_SQLITE)] = None
    db_pass: Annotated[SecretStr | None, Setting("The database's password.", _TEXT, _UNLESS_SQLITE)] = None
    database_url: Annotated[
        SecretStr | None,
        Setting(
            "All connection settings of the database as one URL; replaces host, port, name, user and password.",
            "postgres://, mysql://, mongodb://, mongodb+srv:// or sqlite:///path",
        ),
    ] = None
    db_tls: _Tls = None
    db_tls_verify: _TlsVerify = True
    db_tls_ca_file: _TlsCa = None
    db_tls_cert_file: _TlsCert = None
    db_tls_key_file: _TlsKey = None


class Redis(_Group):
    """The Redis with the schedule and the queue."""

    redis_host: Annotated[Host, Setting("Redis's host.", _HOST)] = "redis"
    redis_port: Annotated[Port, Setting("Redis's port.", _PORT)] = 6379
    redis_username: Annotated[str | None, Setting("Redis's user (ACL).", _TEXT, "the default user")] = None
    redis_password: Annotated[SecretStr | None, Setting("Redis's password.", _TEXT, "none")] = None
    redis_db: Annotated[int, Whole, Field(ge=0, le=15), Setting("Redis's database number.", "0 to 15")] = 0
    redis_url: Annotated[
        SecretStr | None,
        Setting(
            "All connection settings of Redis as one URL; replaces host, port, login, database number and sentinels.",
            "redis:// or rediss:// (with TLS) user:password@host:port/db, "
            "or redis+sentinel:// or rediss+sentinel:// user:password@host:port,host:port/master-name/db",
        ),
    ] = None
    redis_sentinels: Annotated[
        SentinelAddresses | None,
        Setting(
            "The sentinels that monitor the master; replaces REDIS_HOST and REDIS_PORT.",
            "host:port,host:port; the port is optional (26379)",
        ),
    ] = None
    redis_sentinel_master: Annotated[
        SentinelName | None,
        Setting(
            "The name of the master in the sentinels' configuration (sentinel monitor NAME ...).",
            MASTER_FORM,
            "required with `REDIS_SENTINELS`",
        ),
    ] = None
    redis_sentinel_password: Annotated[SecretStr | None, Setting("The sentinels' password.", _TEXT, "none")] = None
    redis_tls: _Tls = None
    redis_tls_verify: _TlsVerify = True
    redis_tls_ca_file: _TlsCa = None
    redis_tls_cert_file: _TlsCert = None
    redis_tls_key_file: _TlsKey = None


class RabbitMq(_Group):
    """The RabbitMQ with a queue of messages."""

    rabbitmq_host: Annotated[Host, Setting("RabbitMQ's host.", _HOST)] = "localhost"
    rabbitmq_port: Annotated[Port, Setting("RabbitMQ's port.", _PORT)] = 5672
    rabbitmq_user: Annotated[str, Setting("RabbitMQ's user.", _TEXT)] = "admin"
    rabbitmq_pass: Annotated[SecretStr | None, Setting("RabbitMQ's password.", _TEXT, "`password`")] = None
    rabbitmq_vhost: Annotated[str, Setting("RabbitMQ's virtual host.", _TEXT)] = "/"
    rabbitmq_url: Annotated[
        SecretStr | None,
        Setting(
            "All connection settings of RabbitMQ as one URL; replaces host, port, user, password and virtual host.",
            "amqp:// or amqps:// (with TLS) user:password@host:port/vhost",
        ),
    ] = None
    rabbitmq_queue: Annotated[
        QueueName, Setting("The queue; the names of retry queues and dead letters begin with it.", QUEUE_NAME_FORM)
    ] = "logs"
    rabbitmq_queue_type: Annotated[
        Literal["classic", "quorum"],
        Lower,
        Setting("The type of the queues that this program creates.", "classic | quorum"),
    ] = "classic"
    rabbitmq_heartbeat: Annotated[
        float,
        Seconds,
        Field(ge=0, le=3600),
        Setting("The heartbeat of connections to RabbitMQ. 0 disables it.", "0 to 3600 seconds"),
    ] = 600
    rabbitmq_blocked_timeout: Annotated[
        _Duration,
        Setting(
            "Time to wait for confirmations, also while RabbitMQ blocks the connection; then the call fails.",
            _UP_TO_AN_HOUR,
        ),
    ] = 300
    rabbitmq_retention: Annotated[
        Retention,
        Lower,
        Setting("How long a stream keeps a copy of each message.", "off, or 1 to 3650 days"),
    ] = "off"
    rabbitmq_tls: _Tls = None
    rabbitmq_tls_verify: _TlsVerify = True
    rabbitmq_tls_ca_file: _TlsCa = None
    rabbitmq_tls_cert_file: _TlsCert = None
    rabbitmq_tls_key_file: _TlsKey = None


class Schedule(_Group):
    """The schedule in Redis."""

    lease_ttl: Annotated[
        float, Seconds, Field(ge=1, le=3600), Setting("How long a claim holds its monitors.", "1 to 3600 seconds")
    ] = 10


class Producer(_Group):
    """One replica."""

    producer_concurrency: Annotated[
        int,
        Whole,
        Field(ge=0, le=128),
        AfterValidator(_ten_for_zero),
        Setting("Workers of this replica. 0 means 10.", "1 to 128"),
    ] = 10
    claim_batch: Annotated[
        int, Whole, Field(ge=1, le=1000), Setting("Monitors that a worker claims in one batch.", "1 to 1000")
    ] = 500
    sync_interval: Annotated[_Duration, Setting("How often the leader syncs the schedule.", _UP_TO_AN_HOUR)] = 30
    tz: Annotated[
        str, Setting("The server's time zone, for maintenance windows.", "an IANA time zone, or a zone file")
    ] = "UTC"


class Service(_Group):
    """Of the commands that run until they are stopped."""

    shutdown_grace: Annotated[
        _Duration, Setting("Time that a stopping process has to finish its work.", _UP_TO_AN_HOUR)
    ] = 20
    metrics_addr: Annotated[
        Address,
        Setting(
            "The address of probes and metrics. With port 0 the system chooses a free port.",
            "host:port, [IPv6]:port, or off (also when empty)",
            "`127.0.0.1:9464`; `consume`: `127.0.0.1:8000`",
        ),
    ] = "127.0.0.1:9464"


class Broker(_Group):
    """Where tasks and messages go."""

    broker: Annotated[
        Literal["asynq", "rabbitmq", "http"] | None,
        Lower,
        Setting(
            "Where tasks and messages go: queues of asynq in Redis, RabbitMQ, or an HTTP endpoint.",
            "asynq | rabbitmq | http, case-insensitive",
            "asynq for `run` and `status`, otherwise rabbitmq",
        ),
    ] = None


class Http(_Group):
    """The HTTP endpoint of BROKER=http."""

    http_url: Annotated[
        HttpUrl | None,
        Setting(
            "The endpoint that accepts a message in each POST.",
            _WEB_URL,
            "required with `BROKER=http`",
        ),
    ] = None
    http_token: Annotated[SecretStr | None, Setting("Sent as Authorization: Bearer.", _TEXT, "none")] = None
    http_success: Annotated[
        Annotated[int, Whole, Field(ge=200, le=299)] | None,
        Setting("The HTTP status that confirms a message.", "200 to 299", "any of 200 to 299"),
    ] = None
    http_attempts: Annotated[
        int, Whole, Field(ge=1, le=100), Setting("Attempts before the endpoint counts as unavailable.", "1 to 100")
    ] = 3
    http_retry_delay: Annotated[
        float, Seconds, Field(ge=0, le=3600), Setting("Time between attempts.", "0 to 3600 seconds")
    ] = 1
    http_timeout: Annotated[_Duration, Setting("Time for one attempt.", _UP_TO_AN_HOUR)] = 30
    http_in_flight: Annotated[
        int,
        Whole,
        Field(ge=1, le=100),
        Setting("Requests at the same time. With more than 1, the order of messages may change.", "1 to 100"),
    ] = 1


class Messages(_Group):
    """Of the commands that relay and consume messages."""

    flask_env: Annotated[
        Literal["development", "production"] | None,
        Lower,
        Setting("development means MODE=dev, production MODE=prod. MODE takes precedence.", "development | production"),
    ] = None
    asynq_queue: Annotated[QueueName, Setting("The queue of BROKER=asynq.", QUEUE_NAME_FORM)] = "logs"
    asynq_type: Annotated[str, Setting("The type of the tasks of BROKER=asynq.", _TEXT)] = "message"
    max_line_bytes: Annotated[
        int,
        Whole,
        Field(ge=1, le=64 * 2**20),
        Setting("The longest line of a file; a longer one goes to the dead letters.", "1 to 67108864 bytes"),
    ] = 2**20
    consume_concurrency: Annotated[
        int, Whole, Field(ge=1, le=10_000), Setting("Messages that are handled at the same time.", "1 to 10000")
    ] = 10
    consume_processes: Annotated[
        int,
        Whole,
        Field(ge=0, le=128),
        Setting("Processes that call the handler. With 0 the main process calls it.", "0 to 128"),
    ] = 0
    consume_attempts: Annotated[
        int, Whole, Field(ge=1, le=1000), Setting("Attempts before a message is dead-lettered.", "1 to 1000")
    ] = 5
    consume_timeout: Annotated[
        float, Seconds, Field(ge=0.1, le=86400), Setting("Time for one attempt.", "0.1 to 86400 seconds")
    ] = 1800
    consume_delay: Annotated[
        float,
        Seconds,
        Field(ge=0, le=3600),
        Setting("Time to wait before each message is handled.", "0 to 3600 seconds"),
    ] = 0


class Api(_Group):
    """Of the HTTP API of `serve`."""

    port: Annotated[Port, Setting("The port of the API.", _PORT)] = 5000
    api_host: Annotated[
        Host, Setting("The address that the API listens on; 0.0.0.0, or :: with IPv6, for all interfaces.", _HOST)
    ] = "127.0.0.1"
    api_token: Annotated[
        SecretStr | None, Setting("What producers send as Authorization: Bearer.", _TEXT, "none is required")
    ] = None
    rate_limit: Annotated[
        int,
        Whole,
        Field(ge=0, le=1_000_000),
        Setting("Requests per second of one client address. 0: no limit.", "0 to 1000000"),
    ] = 0
    max_request_bytes: Annotated[
        int, Whole, Field(ge=1, le=16 * 2**20), Setting("The largest body of a request.", "1 to 16777216 bytes")
    ] = 2**20
    api_timeout: Annotated[
        _Duration, Setting("Time that a request waits for the confirmation of the broker.", _UP_TO_AN_HOUR)
    ] = 10
    api_body_timeout: Annotated[
        _Duration, Setting("Time that a client has to send the body of a request.", _UP_TO_AN_HOUR)
    ] = 30


class Sender(_Group):
    """Of `send`."""

    api_url: Annotated[
        HttpUrl, Setting("The base URL of the API; messages are posted to its path /api/messages.", _WEB_URL)
    ] = WebUrl("http://api-service:3000")
    environment: Annotated[
        Literal["prod", "test"], Lower, Setting("The environment that the message contains.", "prod | test")
    ] = "prod"
    github_token: Annotated[SecretStr | None, Setting("For later use; it is not sent.", _TEXT, "none")] = None
    send_attempts: Annotated[int, Whole, Field(ge=1, le=100), Setting("Attempts to send a message.", "1 to 100")] = 3
    send_retry_delay: Annotated[
        float, Seconds, Field(ge=0, le=3600), Setting("Time between attempts.", "0 to 3600 seconds")
    ] = 30
    send_timeout: Annotated[_Duration, Setting("Time for one attempt as a whole.", _UP_TO_AN_HOUR)] = 30
    send_user_agent: Annotated[str, Setting("The User-Agent of the requests.", _TEXT)] = "MCCE-Producer-Service"
    pushgateway_url: Annotated[
        HttpUrl | None, Setting("The Prometheus Pushgateway that receives the metrics of a run.", _WEB_URL, "none")
    ] = None


class Startup(_Group):
    """Of the commands that wait for servers."""

    startup_timeout: Annotated[
        _Duration, Setting("Time to wait for Redis and the database at startup.", _UP_TO_AN_HOUR)
    ] = 60


class Common(_Group):
    """What every command reads."""

    mode: Annotated[
        Literal["dev", "prod", "test"], Setting("dev logs colored lines, prod and test log JSON.", "dev | prod | test")
    ] = "dev"
    log_level: Annotated[
        Level,
        Lower,
        Setting(
            "The lowest level that is logged.",
            "debug | info | warn | error, or zap's warning, dpanic, panic, fatal; case-insensitive",
        ),
    ] = "debug"
    service_name: Annotated[str, Setting("The name of the service in every log line.", _TEXT)] = "peekaping:producer"
    log_file: Annotated[
        str | None, Setting("Log lines are also appended to this file.", "the path of a writable file", "none")
    ] = None


class Fields(
    Sender, Api, Messages, Http, RabbitMq, Broker, Common, Startup, Service, Producer, Schedule, Redis, Database
):
    """All settings. Pydantic collects the fields of the last class first."""


SettingsGroup = Literal[
    "schedule",
    "database",
    "redis",
    "producer",
    "service",
    "startup",
    "broker",
    "rabbitmq",
    "http",
    "messages",
    "api",
    "send",
]
"""A group of settings that a command may need; the settings of other groups are not read."""

ALL_GROUPS: frozenset[SettingsGroup] = frozenset(get_args(SettingsGroup))
PRODUCER_GROUPS: frozenset[SettingsGroup] = ALL_GROUPS - {"rabbitmq", "http", "messages", "api", "send"}
"""Those of a replica."""
NAMES = tuple(name.upper() for name in Fields.model_fields)

_GROUPS: dict[SettingsGroup, type[BaseModel]] = {
    "database": Database,
    "redis": Redis,
    "schedule": Schedule,
    "producer": Producer,
    "service": Service,
    "startup": Startup,
    "broker": Broker,
    "rabbitmq": RabbitMq,
    "http": Http,
    "messages": Messages,
    "api": Api,
    "send": Sender,
}


def group_names(group: SettingsGroup) -> frozenset[str]:
    """The names (DB_HOST) of a group's settings."""
    return frozenset(name.upper() for name in _GROUPS[group].model_fields)


def command_names(groups: Collection[SettingsGroup]) -> tuple[str, ...]:
    """The names of the settings that a command reads: those of `groups`, and those of every command."""
    others = {name for group in ALL_GROUPS - set(groups) for name in group_names(group)}
    return tuple(name for name in NAMES if name not in others)


def description(name: str) -> Setting:
    """The description of the setting `name` (DB_HOST)."""
    return next(each for each in Fields.model_fields[name.lower()].metadata if isinstance(each, Setting))
