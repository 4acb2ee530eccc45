"""The parts of one replica, by their concrete classes."""

from functools import cached_property
from importlib.metadata import version

from peekaping_producer import logs
from peekaping_producer.brokers import Broker
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
from peekaping_producer.producer.state import ReplicaState
from peekaping_producer.producer.suspects import Suspects
from peekaping_producer.producer.timing import TIMING, Timing
from peekaping_producer.redis_client.client import Client
from peekaping_producer.schedule import Schedule
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.settings import Settings
from peekaping_producer.stores import MonitorStore
from peekaping_producer.web.server import HealthServer


class Parts:
    """Creates each part on first use."""

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
        self.anomalies = Anomalies(self.metrics)

    @cached_property
    def claims(self) -> Claims:
        """Shared by the workers."""
        return Claims(self.schedule, self.metrics, batch=self.settings.claim_batch, timing=self.timing)

    @cached_property
    def workers(self) -> list[Worker]:
        """As many as PRODUCER_CONCURRENCY."""
        builder = TaskBuilder(server_zone=self.settings.tz, report=self.anomalies.report)
        return [
            Worker(
                number,
                claims=self.claims,
                schedule=self.schedule,
                store=self.store,
                builder=builder,
                broker=self.broker,
                suspects=self.suspects,
                anomalies=self.anomalies,
                metrics=self.metrics,
                dependencies=self.dependencies,
                timing=self.timing,
            )
            for number in range(self.settings.producer_concurrency)
        ]

    @cached_property
    def reclaimer(self) -> Reclaimer:
        """Runs in every replica."""
        return Reclaimer(self.schedule, self.claims, self.metrics, self.dependencies, self.timing)

    @cached_property
    def placing(self) -> Placing:
        """Shared by sync and hints."""
        return Placing(self.schedule, self.claims, self.anomalies, self.metrics)

    @cached_property
    def hints(self) -> Hints:
        """Runs while this replica leads."""
        return Hints(
            self.store,
            self.placing,
            anomalies=self.anomalies,
            dependencies=self.dependencies,
            timing=self.timing,
        )

    @cached_property
    def sync(self) -> Sync:
        """Runs while this replica leads."""
        return Sync(
            schedule=self.schedule,
            store=self.store,
            broker=self.broker,
            placing=self.placing,
            hints=self.hints,
            anomalies=self.anomalies,
            metrics=self.metrics,
            dependencies=self.dependencies,
            interval_s=self.settings.sync_interval,
            timing=self.timing,
        )

    @cached_property
    def events(self) -> EventListener:
        """Runs while this replica leads."""
        return EventListener(
            self.redis,
            self.hints,
            is_id=self.store.is_id,
            on_subscribed=self.sync.request,
            metrics=self.metrics,
            dependencies=self.dependencies,
            timing=self.timing,
        )

    @cached_property
    def leader(self) -> Leader:
        """Runs in every replica: campaigns, and runs the three above for the length of a term."""
        duties = LeaderDuties(self.events, self.hints, self.sync)
        return Leader(
            self.schedule,
            duties.run,
            self.metrics,
            self.dependencies,
            may_lead=lambda: self.vitals.may_lead(),  # noqa: PLW0108 - vitals is made of the leader
            timing=self.timing,
        )

    @cached_property
    def vitals(self) -> Vitals:
        """Watches the loops above."""
        state = ReplicaState(
            self.leader,
            self.sync,
            self.anomalies,
            self.suspects,
            degraded_for_s=self.timing.degraded_for_s,
            sync_late_after_s=3 * self.settings.sync_interval + self.timing.sync_late_after_s,
            lease_ttl_s=self.schedule.lease_ttl_s,
        )
        loops = [worker.loop for worker in self.workers]
        loops += [each.loop for each in (self.reclaimer, self.leader, self.hints, self.events, self.sync)]
        return Vitals(
            self.leader.node,
            schedule=self.schedule,
            store=self.store,
            broker=self.broker,
            state=state,
            watched=loops,
            dependencies=self.dependencies,
            metrics=self.metrics,
            timing=self.timing,
        )

    @cached_property
    def summary(self) -> Summary:
        """Logs a line a minute."""
        return Summary(
            self.leader.node,
            stats=self.schedule.stats,
            metrics=self.metrics,
            dependencies=self.dependencies,
            interval_s=self.timing.summary_every_s,
        )

    @cached_property
    def health(self) -> HealthServer:
        """Serves the probes and the metrics."""
        return HealthServer(self.vitals, self.metrics)
