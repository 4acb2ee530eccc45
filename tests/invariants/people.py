"""What people do to the schedule of a walk."""

from typing import Any

from redis import Redis

from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.schedule import Schedule, Steering
from tests.invariants.look import to_bytes
from tests.kit.clock import TEST_CLOCK
from tests.kit.invariants import Mutation, scripts_of


class _ByText:
    """A client that runs each script by its text, since a walk removes scripts from the server."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.texts: dict[str, str] = {}

    async def evalsha(self, sha: str, count: int, *rest: Any) -> Any:
        return self._redis.eval(self.texts[sha], count, *map(to_bytes, rest))


def people(redis: Redis, mutation: Mutation | None) -> Steering:
    """The acts, with the scripts of the mutation."""
    client: Any = _ByText(redis)
    steering = Steering(client, clock=TEST_CLOCK)
    owners = (steering, Schedule(client, clock=TEST_CLOCK), AsynqBroker(client, clock=TEST_CLOCK))
    client.texts = {script.sha: script._text for script in scripts_of(mutation, *owners)}
    return steering
