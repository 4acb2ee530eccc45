"""The queue that workers consume: a protocol, and one module per broker."""

from peekaping_producer.brokers.protocol import Broker, HandOff, Outcome, Queue, SweepResult

__all__ = ["Broker", "HandOff", "Outcome", "Queue", "SweepResult"]
