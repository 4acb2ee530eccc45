"""The parts of one replica, by their concrete classes."""

from functools import partial
from hashlib import sha256
from importlib.metadata import version

from peekaping_producer import logs
from peekaping_producer.brokers import Broker
from peekaping_producer.metrics import Metrics
from peekaping_producer.monitors.task import TaskBuilder
from peekaping_producer.producer.activity import Activity
from peekaping_producer.producer.anomalies import Anomalies
from peekaping_producer.producer.condition_log import ConditionLog
from peekaping_producer.producer.duties import run_duties
from peekaping_producer.producer.event_recorder import EventRecorder
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
from peekaping_producer.producer.replica_conditions import ReplicaConditions
from peekaping_producer.producer.reporting import Reporter
from peekaping_producer.producer.sampler import Sampler
from peekaping_producer.producer.suspects import Suspects
from peekaping_producer.producer.timing import TIMING, Timing
from peekaping_producer.redis_client.client import Client
from peekaping_producer.schedule import Schedule
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.settings import Settings
from peekaping_producer.stores import MonitorStore
from peekaping_producer.ui.server import PageServer
from peekaping_producer.web.server import HealthServer


class Parts:
    """The parts of one replica. Nothing is connected yet."""

    def __init__(
        self,
        settings: Settings,
        redis: Client,
        store: MonitorStore,
        schedule: Schedule,
        broker: Broker,
        *,
        timing: Timing = TIMING,
    ) -> None:
        """`schedule` and `broker` are on `redis`."""
        self.settings = settings
        self.redis = redis
        self.store = store
        self.schedule = schedule
        self.broker = broker
        self.timing = timing
        self.suspects = Suspects()
        self.metrics = Metrics(version("peekaping-producer"), dropped_lines=logs.dropped_lines)
        self.metrics.set_aside.set_function(lambda: len(self.suspects))
        self.dependencies = Dependencies(self.metrics)
        self.recorder = EventRecorder()
        self.anomalies = Anomalies(self.metrics, self.recorder)
        self.activity = Activity(self.metrics.schedule_lag)
        self.claims = Claims(schedule, self.metrics, self.activity, batch=settings.claim_batch, timing=timing)
        self._add_workers()
        self._add_leader()
        self._add_health()

    def _add_workers(self) -> None:
        """Add the loops that move monitors from due to the queue."""
        builder = TaskBuilder(server_zone=self.settings.tz, report=self.anomalies.report)
        self.workers = [
            Worker(
                number,
                claims=self.claims,
                schedule=self.schedule,
                store=self.store,
                builder=builder,
                broker=self.broker,
                suspects=self.suspects,
                anomalies=self.anomalies,
                activity=self.activity,
                metrics=self.metrics,
                dependencies=self.dependencies,
                timing=self.timing,
            )
            for number in range(self.settings.producer_concurrency)
        ]
        self.reclaimer = Reclaimer(
            self.schedule,
            self.claims,
            recorder=self.recorder,
            metrics=self.metrics,
            dependencies=self.dependencies,
            timing=self.timing,
        )

    def _add_leader(self) -> None:
        """Add the leader, and the loops that run while this replica leads."""
        placing = Placing(self.schedule, self.claims, self.anomalies, self.recorder, self.metrics)
        self.hints = Hints(self.store, placing, self.dependencies, self.timing)
        self.sync = Sync(
            schedule=self.schedule,
            store=self.store,
            broker=self.broker,
            placing=placing,
            hints=self.hints,
            anomalies=self.anomalies,
            metrics=self.metrics,
            dependencies=self.dependencies,
            interval_s=self.settings.sync_interval,
            timing=self.timing,
        )
        self.events = EventListener(
            self.redis,
            self.hints,
            is_id=self.store.is_id,
            on_subscribed=self.sync.request,
            metrics=self.metrics,
            dependencies=self.dependencies,
        )
        self.leader = Leader(
            self.schedule,
            partial(run_duties, self.events, self.hints, self.sync),
            self.recorder,
            self.metrics,
            self.dependencies,
            may_lead=lambda: self.vitals.may_lead(),  # noqa: PLW0108 - vitals is made of the leader
            spread_ticks=self.settings.spread_ticks,
            timing=self.timing,
        )

    def _add_health(self) -> None:
        """Add what observes the other parts."""
        sampler = Sampler(
            schedule=self.schedule,
            store=self.store,
            broker=self.broker,
            recorder=self.recorder,
            dependencies=self.dependencies,
            metrics=self.metrics,
            timing=self.timing,
        )
        self.conditions = ReplicaConditions(
            sampler=sampler,
            sync=self.sync,
            anomalies=self.anomalies,
            suspects=self.suspects,
            activity=self.activity,
            lease_ttl_s=self.schedule.lease_ttl_s,
            timing=self.timing,
        )
        loops = [worker.loop for worker in self.workers]
        loops += [self.reclaimer.loop, self.leader.loop, self.hints.loop, self.events.loop, self.sync.loop]
        self.vitals = Vitals(
            sampler=sampler,
            schedule=self.schedule,
            leader=self.leader,
            sync=self.sync,
            conditions=self.conditions,
            report=self._reporter(sampler).report,
            activity=self.activity,
            watched=loops,
            condition_log=ConditionLog(self.metrics, self.recorder),
            recorder=self.recorder,
            dependencies=self.dependencies,
            timing=self.timing,
        )
        self.summary = Summary(
            self.leader.node,
            stats=self.schedule.stats,
            metrics=self.metrics,
            dependencies=self.dependencies,
            interval_s=self.timing.summary_every_s,
        )
        self.health = HealthServer(self.vitals, self.metrics)
        self.page = PageServer(self.settings, self.vitals, self.metrics, program=version("peekaping-producer"))

    def _reporter(self, sampler: Sampler) -> Reporter:
        return Reporter(
            version=version("peekaping-producer"),
            settings=_shared_settings(self.settings),
            lease_ttl_s=self.schedule.lease_ttl_s,
            activity=self.activity,
            claims=self.claims,
            leader=self.leader,
            sync=self.sync,
            sampler=sampler,
            anomalies=self.anomalies,
            suspects=self.suspects,
            dependencies=self.dependencies,
        )


def _shared_settings(settings: Settings) -> dict[str, str]:
    """Return the settings that all replicas of an installation must share, for a comparison; no secrets."""
    database = str(settings.database_target())
    return {
        "BROKER": settings.broker or "asynq",
        "DATABASE": sha256(database.encode(errors="surrogateescape")).hexdigest()[:8],
        "LEASE_TTL": f"{settings.lease_ttl:g}",
        "SPREAD_TICKS": str(settings.spread_ticks).lower(),
        "SYNC_INTERVAL": f"{settings.sync_interval:g}",
        "TZ": str(settings.tz),
    }
