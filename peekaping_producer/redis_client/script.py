"""Lua scripts and their execution."""

from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis

from peekaping_producer.errors import RedisRefusedError
from peekaping_producer.redis_client.failures import decoding


def lua(package: str, name: str) -> str:
    """The text of `package`/scripts/`name`.lua."""
    return files(package).joinpath(f"scripts/{name}.lua").read_text()


CLOCK = lua("peekaping_producer.redis_client", "clock")
"""Precedes every script. Tests replace it with a clock that they control."""


class Script:
    """The script `package`/scripts/`name`.lua, after `prelude`."""

    def __init__(self, package: str, name: str, *, prelude: str = CLOCK) -> None:
        self.name = name
        self._text = prelude + lua(package, name)
        self.sha = sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, redis: "Redis", keys: Sequence[str | bytes], args: Sequence[Any]) -> Any:
        """Run it; send its text if the server no longer has it (restart, SCRIPT FLUSH).

        Raises RedisError; after RedisUnavailableError it is unknown whether the script ran.
        """
        try:
            return await redis.evalsha(self.sha, len(keys), *keys, *args)
        except RedisRefusedError as error:
            if error.code != "NOSCRIPT":
                raise
            return await redis.eval(self._text, len(keys), *keys, *args)

    async def count(self, redis: "Redis", keys: Sequence[str | bytes], args: Sequence[Any]) -> int:
        """Run a script that returns an integer. Raises RedisError, as `run` does."""
        reply = await self.run(redis, keys, args)
        with decoding():
            return int(reply)


def names_by_sha(*owners: object) -> dict[str, str]:
    """Return the name of each script that is an attribute of one of these objects, by its SHA, as SLOWLOG has it."""
    scripts = (value for owner in owners for value in vars(owner).values() if isinstance(value, Script))
    return {script.sha: script.name for script in scripts}
