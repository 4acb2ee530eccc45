"""The settings, one class for each system: type, default and description. Durations are in seconds.

Those of the servers are in settings.servers, those of the page in settings.ui.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from peekaping_producer.settings.servers import Database, Http, RabbitMq, Redis
from peekaping_producer.settings.types import (
    BOOL_FORM,
    DURATION_FORM,
    HOST_FORM,
    PORT_FORM,
    QUEUE_NAME_FORM,
    TEXT_FORM,
    WEB_URL_FORM,
    Address,
    Duration,
    Group,
    Host,
    HttpUrl,
    Level,
    Lower,
    Port,
    QueueName,
    Seconds,
    Setting,
    WebUrl,
    Whole,
)
from peekaping_producer.settings.ui import Ui


def _ten_for_zero(workers: int) -> int:
    """Peekaping's Go producer reads 0 as "not set"."""
    return workers or 10


class Schedule(Group):
    """The schedule in Redis."""

    lease_ttl: Annotated[
        float, Seconds, Field(ge=1, le=3600), Setting("How long a claim holds its monitors.", "1 to 3600 seconds")
    ] = 10


class Producer(Group):
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
    sync_interval: Annotated[Duration, Setting("How often the leader syncs the schedule.", DURATION_FORM)] = 30
    spread_ticks: Annotated[
        bool,
        Setting("Spread the checks of monitors over their intervals; the leader's value is used by all.", BOOL_FORM),
    ] = False
    tz: Annotated[
        str, Setting("The server's time zone, for maintenance windows.", "an IANA time zone, or a zone file")
    ] = "UTC"


class Service(Group):
    """Of the commands that run until they are stopped."""

    shutdown_grace: Annotated[
        Duration, Setting("Time that a stopping process has to finish its work.", DURATION_FORM)
    ] = 20
    metrics_addr: Annotated[
        Address,
        Setting(
            "The address of probes and metrics. With port 0 the system chooses a free port.",
            "host:port, [IPv6]:port, or off (also when empty)",
            "`127.0.0.1:9464`; `consume`: `127.0.0.1:8000`",
        ),
    ] = "127.0.0.1:9464"


class Broker(Group):
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


class Messages(Group):
    """Of the commands that relay and consume messages."""

    flask_env: Annotated[
        Literal["development", "production"] | None,
        Lower,
        Setting("development means MODE=dev, production MODE=prod. MODE takes precedence.", "development | production"),
    ] = None
    asynq_queue: Annotated[QueueName, Setting("The queue of BROKER=asynq.", QUEUE_NAME_FORM)] = "logs"
    asynq_type: Annotated[str, Setting("The type of the tasks of BROKER=asynq.", TEXT_FORM)] = "message"
    max_line_bytes: Annotated[
        int,
        Whole,
        Field(ge=1, le=64 * 2**20),
        Setting("The longest line of a file; a longer one goes to the dead letters.", "1 to 67108864 bytes"),
    ] = 2**20


class Consume(Group):
    """Of `consume`."""

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


class Api(Group):
    """Of the HTTP API of `serve`."""

    port: Annotated[Port, Setting("The port of the API.", PORT_FORM)] = 5000
    api_host: Annotated[
        Host, Setting("The address that the API listens on; 0.0.0.0, or :: with IPv6, for all interfaces.", HOST_FORM)
    ] = "127.0.0.1"
    api_token: Annotated[
        SecretStr | None, Setting("What producers send as Authorization: Bearer.", TEXT_FORM, "none is required")
    ] = None
    rate_limit: Annotated[
        int,
        Whole,
        Field(ge=0, le=1_000_000),
        Setting("Requests per second of one client address (IPv6: one /64). 0: no limit.", "0 to 1000000"),
    ] = 0
    max_request_bytes: Annotated[
        int, Whole, Field(ge=1, le=16 * 2**20), Setting("The largest body of a request.", "1 to 16777216 bytes")
    ] = 2**20
    api_timeout: Annotated[
        Duration, Setting("Time that a request waits for the confirmation of the broker.", DURATION_FORM)
    ] = 10
    api_body_timeout: Annotated[
        Duration, Setting("Time that a client has to send the body of a request.", DURATION_FORM)
    ] = 30


class Sender(Group):
    """Of `send`."""

    api_url: Annotated[
        HttpUrl, Setting("The base URL of the API; messages are posted to its path /api/messages.", WEB_URL_FORM)
    ] = WebUrl("http://api-service:3000")
    environment: Annotated[
        Literal["prod", "test"], Lower, Setting("The environment that the message contains.", "prod | test")
    ] = "prod"
    github_token: Annotated[SecretStr | None, Setting("For later use; it is not sent.", TEXT_FORM, "none")] = None
    send_attempts: Annotated[int, Whole, Field(ge=1, le=100), Setting("Attempts to send a message.", "1 to 100")] = 3
    send_retry_delay: Annotated[
        float, Seconds, Field(ge=0, le=3600), Setting("Time between attempts.", "0 to 3600 seconds")
    ] = 30
    send_timeout: Annotated[Duration, Setting("Time for one attempt as a whole.", DURATION_FORM)] = 30
    send_user_agent: Annotated[str, Setting("The User-Agent of the requests.", TEXT_FORM)] = "MCCE-Producer-Service"
    pushgateway_url: Annotated[
        HttpUrl | None, Setting("The Prometheus Pushgateway that receives the metrics of a run.", WEB_URL_FORM, "none")
    ] = None


class Startup(Group):
    """Of the commands that wait for servers."""

    startup_timeout: Annotated[
        Duration, Setting("Time to wait for Redis and the database at startup.", DURATION_FORM)
    ] = 60


class Common(Group):
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
    service_name: Annotated[str, Setting("The name of the service in every log line.", TEXT_FORM)] = (
        "peekaping:producer"
    )
    log_file: Annotated[
        str | None, Setting("Log lines are also appended to this file.", "the path of a writable file", "none")
    ] = None


class Fields(
    Sender,
    Api,
    Consume,
    Messages,
    Http,
    RabbitMq,
    Broker,
    Common,
    Startup,
    Ui,
    Service,
    Producer,
    Schedule,
    Redis,
    Database,
):
    """All settings. Pydantic collects the fields of the last class first."""


NAMES = tuple(name.upper() for name in Fields.model_fields)


def description(name: str) -> Setting:
    """The description of the setting `name` (DB_HOST)."""
    return next(data for data in Fields.model_fields[name.lower()].metadata if isinstance(data, Setting))
