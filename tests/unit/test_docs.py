"""The docs: links lead somewhere, and every log event, metric, condition and command is documented."""

import re
from pathlib import Path

import pytest

from peekaping_producer.cli.main import _parser
from peekaping_producer.metrics import PREFIX, Metrics
from peekaping_producer.operations.conditions import LEVELS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
SOURCES = "\n".join(path.read_text() for path in (ROOT / "peekaping_producer").rglob("*.py"))


def anchors(page: Path) -> set[str]:
    """The anchors of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def section(page: str, heading: str) -> str:
    return page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def first_column(table: str) -> set[str]:
    """The code in the first cell of each row."""
    return {
        name for cell in re.findall(r"^\|([^|]*)\|", table, re.MULTILINE) for name in re.findall(r"`([^`]+)`", cell)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_log_event_is_documented_and_every_documented_one_exists() -> None:
    documented = first_column(section(OPERATIONS, "Log events")) - {"library.<package>"}
    logged = set(re.findall(r'\b_?log\.(?:debug|info|warning|error|critical)\(\s*"([a-z_]+\.[a-z_]+)"', SOURCES))
    assert len(logged) > 25
    assert logged - documented == set()
    assert {event for event in documented if f'"{event}"' not in SOURCES} == set()


def test_every_metric_is_documented_and_every_documented_one_exists() -> None:
    names = {re.sub(r"\{.*", "", name) for name in first_column(section(OPERATIONS, "Metrics"))}
    outcomes = first_column(section(OPERATIONS, "Metrics").partition("| `outcome` |")[2])
    served = {
        family.name.removeprefix(f"{PREFIX}_") + ("_total" if family.type == "counter" else "")
        for family in Metrics("1").registry.collect()
        if family.name.startswith(PREFIX)
    }
    assert names - outcomes - {"outcome", "process_*"} == served


def test_every_condition_is_documented_with_its_level() -> None:
    table = section(OPERATIONS, "Conditions")
    assert {code: level.value for code, level in LEVELS.items()} == dict(
        re.findall(r"^\| `(\w+)` \| (\w+) \|", table, re.MULTILINE)
    )


def test_every_command_is_in_the_readme() -> None:
    listed = first_column(section((ROOT / "README.md").read_text(), "Commands"))
    (commands,) = (action.choices for action in _parser()._actions if action.dest == "==SUPPRESS==" and action.choices)
    assert set(commands) <= listed
