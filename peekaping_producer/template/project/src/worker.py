"""The worker: all business logic."""

import os

from peekaping_producer import processes

from src.meta import MessageCommand, MultiProcessWorker, logger_setup


@logger_setup
class Worker(MultiProcessWorker, processes.Worker):
    """Executes commands, one at a time, in each worker process."""

    def handle(self, command: MessageCommand) -> MessageCommand:
        """Execute a command; return the reply. An exception is raised in the server, where the command was sent.

        If this process dies, its replacement executes the command again.
        """
        self._logger.info("execute %s", command.to_json())
        match command.command, command.arguments:
            case "greet", [str(name)]:
                return MessageCommand("greeting", [f"Hello, {name}!", os.getpid()])
        raise ValueError(f"command: expected greet with a name, got {command.to_json()}")
