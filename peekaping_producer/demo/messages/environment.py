"""What the demo runs: Redis, and the four commands of two systems."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from peekaping_producer.demo.command import PROGRAM, Command
from peekaping_producer.demo.embedded import free_port
from peekaping_producer.demo.messages import handler
from peekaping_producer.demo.redis import open_redis, origin
from peekaping_producer.service import child_processes
from peekaping_producer.settings import Settings

_HANDLER = f"{handler.__name__}:{handler.record.__name__}"


class Environment(msgspec.Struct, frozen=True):
    """The running commands and their files. The API listens on `port`."""

    redis_text: str
    """Address and kind of the Redis server, for the output."""
    relay: Command
    sink: Command
    api: Command
    consumer: Command
    port: int
    input: Path
    output: Path
    handled: Path

    @property
    def commands(self) -> Sequence[Command]:
        """All commands."""
        return self.relay, self.sink, self.api, self.consumer


@asynccontextmanager
async def open_environment(given: Settings | None) -> AsyncIterator[Environment]:
    """Start everything for the duration of the `async with`; no process and no file outlives it.

    Redis is that of the `given` settings, or an embedded server for None. Raises ProducerError.
    """
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(child_processes.directory("peekaping-demo-"))
        settings = await stack.enter_async_context(open_redis(directory, given))
        env = settings.as_environment("redis") | {"BROKER": "asynq", "SHUTDOWN_GRACE": "5", "METRICS_ADDR": "off"}
        lines, messages = env | {"ASYNQ_QUEUE": "logs"}, env | {"ASYNQ_QUEUE": "messages"}
        port = free_port()
        source, output = directory / "input.txt", directory / "output.txt"
        environment = Environment(
            origin(given, settings),
            relay=_command("relay", directory, lines, "relay", "--from", "file", "--path", str(source)),
            sink=_command("consume to file", directory, lines, "consume", "--to-file", str(output), "--dedup"),
            api=_command("serve", directory, messages | {"PORT": str(port)}, "serve"),
            consumer=_command("consume with handler", directory, messages, "consume", "--handler", _HANDLER),
            port=port,
            input=source,
            output=output,
            handled=directory / handler.HANDLED,
        )
        for command in environment.commands:
            stack.push_async_callback(command.stop)
            command.start()
        yield environment


def _command(name: str, directory: Path, env: dict[str, str], *arguments: str) -> Command:
    return Command(name, directory, (*PROGRAM, *arguments), env)
