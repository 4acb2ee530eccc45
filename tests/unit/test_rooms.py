"""Which modules a small service loads: one that sends a date must not load a scheduler."""

import subprocess
import sys

import pytest

_LIBRARIES = {"redis", "asyncpg", "aiomysql", "pymysql", "motor", "pymongo", "aiosqlite", "aiohttp", "pydantic", "lupa"}
_LOADED = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
print(*sorted(sys.modules), sep="\\n")
"""


def loaded_by(package: str) -> set[str]:
    """Every module in memory after all modules of `package` were imported."""
    done = subprocess.run([sys.executable, "-c", _LOADED, package], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_service_loads_no_scheduler_no_database_and_no_driver() -> None:
    modules = loaded_by("peekaping_producer.service")
    rooms = {name.split(".")[1] for name in modules if name.startswith("peekaping_producer.")}
    assert rooms == {"service", "metrics", "errors", "targets"}
    assert {name.split(".")[0] for name in modules} & _LIBRARIES == set()


@pytest.mark.parametrize("room", ["monitors", "settings", "logs", "processes"])
def test_rooms_below_the_schedule_load_no_driver(room: str) -> None:
    assert {name.split(".")[0] for name in loaded_by(f"peekaping_producer.{room}")} & (
        _LIBRARIES - {"pydantic"}
    ) == set()
