"""Golden data: recorded from the Go producer, one JSON object a line."""

import json
from pathlib import Path
from typing import Any


def vectors(name: str) -> list[dict[str, Any]]:
    """Return the lines of tests/golden/`name`.jsonl. Some contain U+2028, at which splitlines() would also split."""
    text = (Path(__file__).parent.parent / "golden" / f"{name}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.split("\n") if line]
