"""The settings of the servers: the database, Redis, RabbitMQ, and the HTTP endpoint."""

from typing import Annotated, Literal, get_args

from pydantic import Field, SecretStr

from peekaping_producer.settings.sentinels import MASTER_FORM
from peekaping_producer.settings.types import (
    BOOL_FORM,
    DURATION_FORM,
    HOST_FORM,
    PORT_FORM,
    QUEUE_NAME_FORM,
    TEXT_FORM,
    WEB_URL_FORM,
    DatabaseHost,
    DbType,
    Duration,
    Group,
    Host,
    HttpUrl,
    Lower,
    Port,
    QueueName,
    ReadableFile,
    Retention,
    Seconds,
    SentinelAddresses,
    SentinelName,
    Setting,
    Whole,
)

_FILE = "the path of a readable file"
_DB_TYPES = " | ".join(get_args(DbType)) + ", case-insensitive"
_UNLESS_SQLITE = "required, except for sqlite"

_Tls = Annotated[bool | None, Setting("Encrypt the connection.", BOOL_FORM, "false, or what the URL requests")]
_TlsVerify = Annotated[bool, Setting("Verify the server's certificate and host name.", BOOL_FORM)]
_TlsCa = Annotated[
    ReadableFile | None, Setting("Trusted CA certificates (PEM).", _FILE, "the system's CA certificates")
]
_TlsCert = Annotated[ReadableFile | None, Setting("The client's certificate (PEM).", _FILE)]
_TlsKey = Annotated[
    ReadableFile | None, Setting("The client's private key (PEM), if the certificate file does not contain it.", _FILE)
]


class Database(Group):
    """The database with Peekaping's tables."""

    db_type: Annotated[DbType | None, Lower, Setting("The kind of database.", _DB_TYPES, "required")] = None
    db_host: Annotated[DatabaseHost | None, Setting("The database's host.", HOST_FORM, _UNLESS_SQLITE)] = None
    db_port: Annotated[Port | None, Setting("The database's port.", PORT_FORM, _UNLESS_SQLITE)] = None
    db_name: Annotated[str | None, Setting("The database's name (sqlite: the file's path).", TEXT_FORM, "required")] = (
        None
    )
    db_user: Annotated[str | None, Setting("The database's user.", TEXT_FORM, _UNLESS_SQLITE)] = None
    db_pass: Annotated[SecretStr | None, Setting("The database's password.", TEXT_FORM, _UNLESS_SQLITE)] = None
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


class Redis(Group):
    """The Redis with the schedule and the queue."""

    redis_host: Annotated[Host, Setting("Redis's host.", HOST_FORM)] = "redis"
    redis_port: Annotated[Port, Setting("Redis's port.", PORT_FORM)] = 6379
    redis_username: Annotated[str | None, Setting("Redis's user (ACL).", TEXT_FORM, "the default user")] = None
    redis_password: Annotated[SecretStr | None, Setting("Redis's password.", TEXT_FORM, "none")] = None
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
    redis_sentinel_password: Annotated[SecretStr | None, Setting("The sentinels' password.", TEXT_FORM, "none")] = None
    redis_tls: _Tls = None
    redis_tls_verify: _TlsVerify = True
    redis_tls_ca_file: _TlsCa = None
    redis_tls_cert_file: _TlsCert = None
    redis_tls_key_file: _TlsKey = None


class RabbitMq(Group):
    """The RabbitMQ with a queue of messages."""

    rabbitmq_host: Annotated[Host, Setting("RabbitMQ's host.", HOST_FORM)] = "localhost"
    rabbitmq_port: Annotated[Port, Setting("RabbitMQ's port.", PORT_FORM)] = 5672
    rabbitmq_user: Annotated[str, Setting("RabbitMQ's user.", TEXT_FORM)] = "admin"
    rabbitmq_pass: Annotated[SecretStr | None, Setting("RabbitMQ's password.", TEXT_FORM, "`password`")] = None
    rabbitmq_vhost: Annotated[str, Setting("RabbitMQ's virtual host.", TEXT_FORM)] = "/"
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
        Duration,
        Setting(
            "Time to wait for confirmations, also while RabbitMQ blocks the connection; then the call fails.",
            DURATION_FORM,
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


class Http(Group):
    """The HTTP endpoint of BROKER=http."""

    http_url: Annotated[
        HttpUrl | None,
        Setting(
            "The endpoint that accepts a message in each POST.",
            WEB_URL_FORM,
            "required with `BROKER=http`",
        ),
    ] = None
    http_token: Annotated[SecretStr | None, Setting("Sent as Authorization: Bearer.", TEXT_FORM, "none")] = None
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
    http_timeout: Annotated[Duration, Setting("Time for one attempt.", DURATION_FORM)] = 30
    http_in_flight: Annotated[
        int,
        Whole,
        Field(ge=1, le=100),
        Setting("Requests at the same time. With more than 1, the order of messages may change.", "1 to 100"),
    ] = 1
