"""The consumer: `python app.py` runs `peekaping-producer consume`, which calls `handle` for each message.

The settings are those of ../.env, if it exists. Metrics are on port 8000.
"""

import json
import sys
from pathlib import Path

import structlog

from peekaping_producer.cli.entry import main
from peekaping_producer.transports.message import Message

log = structlog.stdlib.get_logger()


def handle(message: Message) -> None:
    """Work on a message, after its processing_time has passed. Replace this by your own work.

    After an exception the message is retried later, and at last moved to the dead letters (the queue logs.dead).
    """
    content = json.loads(message.body)
    log.info("message.processed", message="Processed a message.", id=content["id"])


if __name__ == "__main__":
    env_file = Path(__file__).resolve().parents[1] / ".env"
    options = ["--env-file", str(env_file)] if env_file.exists() else []
    sys.argv[1:1] = ["consume", "--handler", "app:handle", *options]
    sys.exit(main())
