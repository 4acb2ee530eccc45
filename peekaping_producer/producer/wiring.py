"""Builds a replica from settings."""

from peekaping_producer.brokers import Broker, Queue
from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.producer.parts import Parts
from peekaping_producer.producer.replica import Replica
from peekaping_producer.redis_client.client import Client, redis_for
from peekaping_producer.schedule import Schedule
from peekaping_producer.settings import Settings
from peekaping_producer.stores import store_for

_MAX_STORE_CONNECTIONS = 10
_SIDE_LOOPS = 8
"""Loops beside the workers that may each hold a Redis connection."""


def build(settings: Settings) -> Replica:
    """Make the replica that the settings describe. Nothing is connected yet."""
    workers = settings.producer_concurrency
    redis = redis_for(settings.redis_target(), connections=workers + _SIDE_LOOPS)
    store = store_for(settings.database_target(), connections=min(workers, _MAX_STORE_CONNECTIONS) + 3)
    schedule = Schedule(redis, lease_ttl_s=settings.lease_ttl, keeps_due_times=not settings.uses_asynq)
    return Replica(Parts(settings, redis, store, schedule, _broker_for(settings, redis, schedule)))


def _broker_for(settings: Settings, redis: Client, schedule: Schedule) -> Broker:
    """The broker that BROKER names. Only its own library is imported."""
    match settings.broker:
        case None | "asynq":
            return AsynqBroker(redis)
        case "http":
            from peekaping_producer.brokers.publishing import PublishingBroker
            from peekaping_producer.transports.http import HttpPublisher

            return PublishingBroker(HttpPublisher(settings.http_target()), schedule)
        case "rabbitmq":
            from peekaping_producer.brokers.publishing import PublishingBroker
            from peekaping_producer.transports.rabbitmq.publisher import RabbitMqPublisher

            publisher = RabbitMqPublisher(settings.rabbitmq_target())

            async def inspect() -> Queue:
                messages, consumers = await publisher.inspect()
                return Queue({"pending": messages}, None, False, consumers)

            return PublishingBroker(publisher, schedule, inspect)
