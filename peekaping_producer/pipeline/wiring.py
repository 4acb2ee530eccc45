"""Builds relays and consumers from settings: the module that names concrete transports, sources and sinks."""

from importlib.metadata import version
from pathlib import Path

from peekaping_producer import logs
from peekaping_producer.errors import ConfigError
from peekaping_producer.messages.consumer import Consumer
from peekaping_producer.messages.handlers import HandlerWork, load_handler
from peekaping_producer.messages.metrics import ConsumerMetrics, RelayMetrics
from peekaping_producer.messages.relay import MAX_BATCH, Relay
from peekaping_producer.messages.results import no_result, result_of
from peekaping_producer.messages.retries import Retries
from peekaping_producer.messages.work import Work
from peekaping_producer.metrics import Metrics
from peekaping_producer.pipeline.part import RelayPart
from peekaping_producer.pipeline.service import MessageService
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.settings import Settings
from peekaping_producer.transports.publisher import Publisher
from peekaping_producer.transports.receiver import Receiver

_BATCHES_AHEAD = 4
"""Fetched for a sink: 2 to 4 cost a tenth less CPU per message than 1."""
_WINDOW = 500
"""Messages that RabbitMQ has not confirmed; the relay prepares as many more meanwhile."""
_CONSUMER_METRICS = ("127.0.0.1", 8000)
"""Unless METRICS_ADDR is set: a relay, or `serve`, on the same host has the default one."""
_BATCH_LINES = 250
"""Half a window: a checkpoint is written while the other half is published."""
_MAX_UNSETTLED = 4 * _WINDOW
"""Lines: those that the relay has in flight and prepares, and as many that the checkpoint has not passed."""


def relay_from_file(
    settings: Settings, path: Path, *, checkpoint: Path | None = None, dead_letters: Path | None = None
) -> MessageService:
    """A process that sends the lines of a file."""
    from peekaping_producer.messages.sources.file import FileSource

    sending = _Sending(settings)
    source = FileSource(
        path,
        sending.relay,
        sending.dependencies,
        checkpoint=checkpoint,
        dead_letters=dead_letters,
        max_line_bytes=settings.max_line_bytes,
        batch_lines=_BATCH_LINES,
        max_unsettled=_MAX_UNSETTLED,
        metrics=sending.relay_metrics,
    )
    return sending.service(RelayPart(sending.relay, source, "relay", unit="lines"))


def relay_from_clock(settings: Settings, name: str, every_s: float) -> MessageService:
    """A process that sends the time at each multiple of `every_s`."""
    from peekaping_producer.messages.sources.clock import ClockSource

    sending = _Sending(settings)
    return sending.service(RelayPart(sending.relay, ClockSource(name, every_s, sending.relay), "relay"))


def serve_api(settings: Settings) -> MessageService:
    """A process that accepts messages over HTTP. Raises ConfigError if its port cannot be bound."""
    from peekaping_producer.api.app import Api
    from peekaping_producer.api.guard import Guard
    from peekaping_producer.api.metrics import ApiMetrics
    from peekaping_producer.api.source import ApiSource

    sending = _Sending(settings)
    token = settings.api_token.get_secret_value() if settings.api_token else None
    api = Api(
        sending.relay,
        sending.dependencies,
        Guard(token=token, rate_limit=settings.rate_limit, max_bytes=settings.max_request_bytes),
        metrics=ApiMetrics(sending.metrics.registry, repeated=lambda: getattr(sending.publisher, "duplicates", 0)),
        confirm_timeout_s=settings.api_timeout,
        body_timeout_s=settings.api_body_timeout,
    )
    source = ApiSource(api, settings.api_host, settings.port, grace_s=settings.shutdown_grace)
    return sending.service(RelayPart(sending.relay, source, "message API"))


def consume_with_handler(settings: Settings, handler: str) -> MessageService:
    """A process that calls `module:function` for each message, here or in worker processes."""
    function = load_handler(handler)  # also before worker processes import it: a mistake is one line
    if settings.consume_processes:
        from peekaping_producer.processes.pool import Pool

        reply_of = result_of if settings.broker == "asynq" else no_result
        pool = Pool(handler, processes=settings.consume_processes, reply_of=reply_of)
        work = HandlerWork(pool, concurrency=settings.consume_concurrency, delay_s=settings.consume_delay)
    else:
        work = HandlerWork(function, concurrency=settings.consume_concurrency, delay_s=settings.consume_delay)
    return _consumer(settings, work)


def consume_to_file(settings: Settings, path: Path, *, dedup: bool) -> MessageService:
    """A process that writes each message as a line of a file."""
    from peekaping_producer.messages.sinks.file import FileSink

    return _consumer(settings, FileSink(path, dedup=dedup))


def consume_to_stdout(settings: Settings) -> MessageService:
    """A process that writes each message as a line to stdout."""
    from peekaping_producer.messages.sinks.stdout import StdoutSink

    return _consumer(settings, StdoutSink(), shows_progress=False)


class _Sending:
    """What every source needs: a relay to the broker of the settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.metrics = _metrics()
        self.relay_metrics = RelayMetrics(self.metrics.registry)
        self.dependencies = Dependencies(self.metrics)
        self.publisher = _publisher(settings)
        # Over HTTP a batch is as long as its requests together: what is confirmed must not wait for the others.
        match settings.broker:
            case "http":
                batch = settings.http_in_flight
            case "asynq":
                batch = MAX_BATCH
            case _:
                batch = 2 * _WINDOW
        self.relay = Relay(self.publisher, self.dependencies, batch_messages=batch, metrics=self.relay_metrics)

    def service(self, part: RelayPart) -> MessageService:
        """The process that runs `part`."""
        return MessageService(self._settings, part, self.dependencies, self.metrics)


def _consumer(settings: Settings, work: Work, *, shows_progress: bool = True) -> MessageService:
    metrics = _metrics()
    dependencies = Dependencies(metrics)
    # A sink writes one batch while the next ones arrive; it has no other consumers beside it that could take them.
    batches = work.concurrency if work.batch_size == 1 else _BATCHES_AHEAD
    consumer = Consumer(
        _receiver(settings, dependencies, prefetch=work.batch_size * batches),
        work,
        dependencies,
        retries=Retries(max_attempts=settings.consume_attempts, timeout_s=settings.consume_timeout),
        metrics=ConsumerMetrics(metrics.registry),
    )
    return MessageService(
        settings,
        consumer,
        dependencies,
        metrics,
        metrics_address=_CONSUMER_METRICS,
        shows_progress=shows_progress,
    )


def _metrics() -> Metrics:
    return Metrics(version("peekaping-producer"), dropped_lines=logs.dropped_lines)


def _publisher(settings: Settings) -> Publisher:
    match settings.broker:
        case "asynq":
            from peekaping_producer.transports.asynq.publisher import AsynqPublisher

            return AsynqPublisher(settings.redis_target(), queue=settings.asynq_queue, task_type=settings.asynq_type)
        case "http":
            from peekaping_producer.transports.http import HttpPublisher

            return HttpPublisher(settings.http_target())
        case _:
            from peekaping_producer.transports.rabbitmq.publisher import RabbitMqPublisher

            return RabbitMqPublisher(settings.rabbitmq_target(), window=_WINDOW)


def _receiver(settings: Settings, dependencies: Dependencies, *, prefetch: int) -> Receiver:
    """`prefetch`: how many messages are fetched, at most. Other consumers get the rest."""
    match settings.broker:
        case "asynq":
            from peekaping_producer.transports.asynq.receiver import AsynqReceiver

            return AsynqReceiver(settings.redis_target(), {settings.asynq_queue: 1}, dependencies=dependencies)
        case "http":
            raise ConfigError(["BROKER: expected asynq or rabbitmq, got 'http': HTTP has no queue to consume from"])
        case _:
            from peekaping_producer.transports.rabbitmq.receiver import MAX_PREFETCH, RabbitMqReceiver

            return RabbitMqReceiver(settings.rabbitmq_target(), prefetch=min(prefetch, MAX_PREFETCH))
