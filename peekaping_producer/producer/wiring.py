"""Makes a replica of its parts: the only module that names the concrete classes."""

from importlib.metadata import version

from peekaping_producer import logs
from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.metrics import Metrics
from peekaping_producer.monitors.task import TaskBuilder
from peekaping_producer.producer.anomalies import Anomalies
from peekaping_producer.producer.duties import LeaderDuties
from peekaping_producer.producer.loops.claims import Claims
from peekaping_producer.producer.loops.events import EventListener
from peekaping_producer.producer.loops.hints import Hints
from peekaping_producer.producer.loops.leader import Leader
from peekaping_producer.producer.loops.placing import Placing
from peekaping_producer.producer.loops.reclaimer import Reclaimer
from peekaping_producer.producer.loops.summary import Summary
from peekaping_producer.producer.loops.sync import Sync
from peekaping_producer.producer.loops.vitals import Vitals
from peekaping_producer.producer.loops.worker import Worker
from peekaping_producer.producer.replica import Parts, Replica
from peekaping_producer.producer.state import ReplicaState
from peekaping_producer.producer.timing import TIMING, Timing
from peekaping_producer.redis_client.client import Client, redis_for
from peekaping_producer.schedule import Schedule
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.isolation import Suspects
from peekaping_producer.settings import Settings
from peekaping_producer.stores import MonitorStore, store_for
from peekaping_producer.web.server import HealthServer

_MOST_STORE_CONNECTIONS = 10
_SIDE_LOOPS = 8
"""Loops beside the workers that may each hold a Redis connection."""


def build(settings: Settings) -> Replica:
    """Make the replica that the settings describe. Nothing is connected yet."""
    workers = settings.producer_concurrency
    redis = redis_for(settings.redis_target(), connections=workers + _SIDE_LOOPS)
    store = store_for(settings.database_target(), connections=min(workers, _MOST_STORE_CONNECTIONS) + 3)
    schedule = Schedule(redis, lease_ttl_s=settings.lease_ttl)
    return Replica(settings, parts_of(settings, redis, store, schedule, AsynqBroker(redis)))


def parts_of(
    settings: Settings,
    redis: Client,
    store: MonitorStore,
    schedule: Schedule,
    broker: AsynqBroker,
    *,
    timing: Timing = TIMING,
) -> Parts:
    """Make the parts of a replica on this Redis and this store."""
    metrics = Metrics(version("peekaping-producer"), dropped_lines=logs.dropped_lines)
    dependencies, anomalies, suspects = Dependencies(metrics), Anomalies(metrics), Suspects()
    metrics.set_aside.set_function(lambda: len(suspects))
    claims = Claims(schedule, metrics, batch=settings.claim_batch, timing=timing)
    builder = TaskBuilder(server_zone=settings.tz, report=anomalies.report)
    workers = [
        Worker(
            number,
            claims=claims,
            schedule=schedule,
            store=store,
            builder=builder,
            broker=broker,
            suspects=suspects,
            anomalies=anomalies,
            metrics=metrics,
            dependencies=dependencies,
            timing=timing,
        )
        for number in range(settings.producer_concurrency)
    ]
    reclaimer = Reclaimer(schedule, claims, metrics, dependencies, timing)
    placing = Placing(schedule, claims, anomalies, metrics)
    hints = Hints(store, placing, anomalies=anomalies, dependencies=dependencies, timing=timing)
    sync = Sync(
        schedule=schedule,
        store=store,
        broker=broker,
        placing=placing,
        hints=hints,
        anomalies=anomalies,
        metrics=metrics,
        dependencies=dependencies,
        interval_s=settings.sync_interval,
        timing=timing,
    )
    events = EventListener(
        redis,
        hints,
        is_id=store.is_id,
        on_subscribed=sync.request,
        metrics=metrics,
        dependencies=dependencies,
        timing=timing,
    )
    leader = Leader(schedule, LeaderDuties(events, hints, sync).run, metrics, dependencies, timing=timing)
    vitals = Vitals(
        leader.node,
        schedule=schedule,
        store=store,
        broker=broker,
        state=ReplicaState(leader, sync, anomalies, suspects, degraded_for_s=timing.degraded_for_s),
        watched=[worker.loop for worker in workers] + [each.loop for each in (reclaimer, leader, hints, events, sync)],
        dependencies=dependencies,
        metrics=metrics,
        timing=timing,
    )
    summary = Summary(
        leader.node,
        stats=schedule.stats,
        metrics=metrics,
        dependencies=dependencies,
        interval_s=timing.summary_every_s,
    )
    return Parts(
        redis=redis,
        store=store,
        schedule=schedule,
        broker=broker,
        claims=claims,
        workers=workers,
        reclaimer=reclaimer,
        hints=hints,
        sync=sync,
        events=events,
        leader=leader,
        vitals=vitals,
        summary=summary,
        health=HealthServer(vitals, metrics),
        suspects=suspects,
        anomalies=anomalies,
        metrics=metrics,
        last_steps_s=timing.last_steps_s,
    )
