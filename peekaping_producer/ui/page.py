"""The parts of the page, composed: what its endpoints share, on connections of its own."""

import asyncio
from functools import partial

from aiohttp import web

from peekaping_producer.brokers.monitor_state import MonitorStateReader
from peekaping_producer.errors import RedisUnavailableError
from peekaping_producer.metrics import Metrics
from peekaping_producer.operations.acts import Acts
from peekaping_producer.operations.answering import LIMITS
from peekaping_producer.operations.explain.reading import Readers
from peekaping_producer.operations.explain.silent import read_silent
from peekaping_producer.operations.status import Status
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.schedule import Schedule
from peekaping_producer.settings import Settings
from peekaping_producer.stores import store_for
from peekaping_producer.stores.on_demand import OnDemandStore
from peekaping_producer.ui.access import AccessEndpoints
from peekaping_producer.ui.acts import AT_ONCE as ACTS_AT_ONCE
from peekaping_producer.ui.acts import ActEndpoints
from peekaping_producer.ui.app import application
from peekaping_producer.ui.details import DetailsReader
from peekaping_producer.ui.frames import Frames
from peekaping_producer.ui.monitors import EXPLAINED_AT_ONCE, HEARTBEATS, Monitors
from peekaping_producer.ui.names import Names
from peekaping_producer.ui.shared_look import SharedLook
from peekaping_producer.ui.static_files import StaticFiles
from peekaping_producer.ui.view import ReplicaView

_REDIS_CONNECTIONS = 2 + EXPLAINED_AT_ONCE + ACTS_AT_ONCE
"""Two for the look: one that is canceled may still be in use. A client without a free connection fails at once."""
_STORE_CONNECTIONS = 2 + EXPLAINED_AT_ONCE + ACTS_AT_ONCE
"""One for names, one for a search."""


class Page:
    """Connects to nothing before a page is open. Nothing here uses the connections of the workers."""

    def __init__(self, settings: Settings, replica: ReplicaView, metrics: Metrics, *, program: str) -> None:
        """`program`: the version of this program. Raises ConfigError."""
        self._settings = settings
        self._replica = replica
        self._redis = redis_for(settings.redis_target(), connections=_REDIS_CONNECTIONS)
        database = settings.database_target()
        self._store = OnDemandStore(store_for(database, connections=_STORE_CONNECTIONS, limits=LIMITS))
        self._schedule = schedule = Schedule(self._redis, lease_ttl_s=settings.lease_ttl)
        details = DetailsReader(schedule, replica.now_ms)
        names = Names(self._store, replica.now_ms)
        self._look = SharedLook(replica, details, names, metrics, program=program)
        self._frames = Frames(self._look, metrics)
        states = MonitorStateReader(self._redis)
        readers = Readers(states, schedule, self._store, self._fleet, settings.tz, heartbeats=HEARTBEATS)
        self._monitors = Monitors(readers, partial(read_silent, database))

    def application(self) -> web.Application:
        """Return the application. Reads the static files."""
        access = AccessEndpoints(self._settings.ui_access())
        acts = Acts(
            self._redis, self._store, lease_ttl_s=self._settings.lease_ttl, with_queue=self._settings.uses_asynq
        )
        endpoints = (self._frames, self._monitors, ActEndpoints(acts, self._schedule))
        return application(access, *endpoints, files=StaticFiles())

    def end_streams(self) -> None:
        """End the streams, which would keep the server from stopping."""
        self._frames.stop()

    async def stop(self) -> None:
        """End what runs, and close the connections."""
        await self._look.stop()
        await asyncio.gather(self._redis.aclose(), self._store.close())

    async def _fleet(self) -> Status:
        """Return the state of the fleet, as the replica last read it. Raises RedisUnavailableError."""
        look = self._replica.look()
        if look.stats is None or look.redis_failure:
            raise RedisUnavailableError(look.redis_failure or "no answer yet")
        return Status(look.stats, look.queue if self._settings.uses_asynq else None, 0.0, self._settings.lease_ttl)
