"""docs/relay.md and docs/file-source.md: their examples run as they are printed, and the settings exist."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from peekaping_producer.messages.metrics import RelayMetrics
from peekaping_producer.messages.relay import Relay
from peekaping_producer.messages.sources.file import FileSource
from peekaping_producer.metrics import PREFIX

DOCS = Path(__file__).parents[2] / "docs"


def run_example(page: str, folder: Path) -> list[str]:
    (block,) = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
    script = folder / "main.py"
    script.write_text(block)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_example_of_the_relay(tmp_path: Path) -> None:
    assert run_example("relay.md", tmp_path) == [
        "full",
        "connected",
        "published ['a', 'b', 'c']",
        "refused {1: 'too old'}",
        "published ['d']",
        "closed",
    ]


def test_the_example_of_the_file_source(tmp_path: Path) -> None:
    assert run_example("file-source.md", tmp_path) == ["['one', 'two']", "['three']"]


@pytest.mark.parametrize(("page", "part"), [("relay.md", Relay), ("file-source.md", FileSource)])
def test_every_setting_is_documented(page: str, part: type) -> None:
    options = {
        name for name, option in inspect.signature(part).parameters.items() if option.kind is option.KEYWORD_ONLY
    } - {"metrics", "clock"}
    table = (DOCS / page).read_text().partition("## Settings")[2]
    documented = {
        name for cell in re.findall(r"^\|([^|]*)\|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }
    assert documented == options


def test_every_metric_is_documented() -> None:
    registry = CollectorRegistry()
    RelayMetrics(registry)
    names = {family.name + ("_total" if family.type == "counter" else "") for family in registry.collect()}
    text = (DOCS / "relay.md").read_text()
    assert {name for name in names if f"`{name.removeprefix(f'{PREFIX}_')}`" not in text} == set()
