"""The names of checks and their results in asynq, and the prelude of the scripts that use them."""

from peekaping_producer.redis_client.script import lua
from peekaping_producer.schedule import PRELUDE
from peekaping_producer.transports.asynq.keys import QueueKeys

QUEUE = "healthcheck"
RESULTS_QUEUE = "ingester"
"""Workers enqueue the results of checks here."""
TASK_TYPE = "monitor:healthcheck"
TASK_ID_PREFIX = "healthcheck:"

QUEUE_KEYS = QueueKeys(QUEUE)
RESULTS_KEYS = QueueKeys(RESULTS_QUEUE)
PENDING = QUEUE_KEYS.pending
TASK_KEY_PREFIX = QUEUE_KEYS.prefix + "t:"

ASYNQ_PRELUDE = PRELUDE + lua(__package__, "prelude")
"""Follows the clock in every script of this package."""
