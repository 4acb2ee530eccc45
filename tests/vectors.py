"""Golden data: what the Go producer did, one JSON object a line."""

import json
from pathlib import Path
from typing import Any


def vectors(name: str) -> list[dict[str, Any]]:
    """The lines of tests/golden/`name`.jsonl. (splitlines() would cut at U+2028, which stands inside some.)"""
    text = (Path(__file__).parent / "golden" / f"{name}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.split("\n") if line]
