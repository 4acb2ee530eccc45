"""Read the JSON log of a process that may be writing to it."""

import json
from pathlib import Path
from typing import Any


def log_lines(log: Path | bytes) -> list[dict[str, Any]]:
    """Its complete lines; the line that is being written has no end yet."""
    content = log if isinstance(log, bytes) else log.read_bytes()
    return [json.loads(line) for line in content.split(b"\n")[:-1] if line.strip()]
