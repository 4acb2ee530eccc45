"""asynq's names of its keys (internal/base/base.go, v0.25.1)."""

QUEUES = "asynq:queues"
SERVERS = "asynq:servers"
WORKERS = "asynq:workers"
CANCEL_CHANNEL = "asynq:cancel"


class QueueKeys:
    """The keys of one queue."""

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self.prefix = f"asynq:{{{queue}}}:"
        """Of all keys of the queue; the scripts derive those of tasks, counters and groups from it."""
        self.pending = self.prefix + "pending"
        self.active = self.prefix + "active"
        self.lease = self.prefix + "lease"
        self.paused = self.prefix + "paused"
        self.scheduled = self.prefix + "scheduled"
        self.retry = self.prefix + "retry"
        self.archived = self.prefix + "archived"
        self.completed = self.prefix + "completed"
        self.processed = self.prefix + "processed"
