"""A Lua script and how it is called."""

from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis

from peekaping_producer.errors import RedisRefusedError

CLOCK = files("peekaping_producer.redis_client").joinpath("scripts/clock.lua").read_text()
"""The prelude of every script. Tests and simulations pass another one, with a clock of their own."""


class Script:
    """One script, named for its file in `package`/scripts, with the clock before it."""

    def __init__(self, package: str, name: str, *, clock: str = CLOCK) -> None:
        self.name = name
        self._text = clock + files(package).joinpath(f"scripts/{name}.lua").read_text()
        self.sha = sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, redis: "Redis", keys: Sequence[str | bytes], args: Sequence[Any]) -> Any:
        """Run it; where the server has forgotten it (restart, SCRIPT FLUSH), send its text along.

        Raises RedisError; after RedisUnavailableError it is unknown whether the script ran.
        """
        try:
            return await redis.evalsha(self.sha, len(keys), *keys, *args)
        except RedisRefusedError as error:
            if error.code != "NOSCRIPT":
                raise
            return await redis.eval(self._text, len(keys), *keys, *args)
