"""Worker processes that receive commands and send replies."""

from peekaping_producer.processes.child import end_with_parent
from peekaping_producer.processes.commands import MessageCommand
from peekaping_producer.processes.logs import collect_logs, logger_setup, send_logs
from peekaping_producer.processes.pool import Pool, PoolStats
from peekaping_producer.processes.threads import ThreadedPool
from peekaping_producer.processes.workers import MessageWorker, MultiProcessWorker, Server, Worker

__all__ = [
    "MessageCommand",
    "MessageWorker",
    "MultiProcessWorker",
    "Pool",
    "PoolStats",
    "Server",
    "ThreadedPool",
    "Worker",
    "collect_logs",
    "end_with_parent",
    "logger_setup",
    "send_logs",
]
