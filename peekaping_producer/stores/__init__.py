"""The databases of monitors: one protocol, and one Store with a driver and a session for each database."""

from peekaping_producer.stores.factory import store_for
from peekaping_producer.stores.protocol import MIN_PREFIX, FoundMonitor, Loaded, MonitorStore, Session

__all__ = ["MIN_PREFIX", "FoundMonitor", "Loaded", "MonitorStore", "Session", "store_for"]
