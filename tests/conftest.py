"""Fixtures that every test may ask for, and what tests add to the last lines of a run."""

import os

import hypothesis
import pytest

from peekaping_producer.demo import embedded

pytest_plugins = [
    f"tests.kit.{name}"
    for name in (
        *("redis", "postgres", "mysql", "mongo", "rabbitmq", "rabbitmq_clients", "sentinel"),
        *("schedule", "asynq_harness", "asynq_worker", "api", "installation", "explained", "faulty_tables", "terminal"),
    )
]

# The servers that this shell names for the product are none of the tests' business.
for _name in [name for name in os.environ if name.startswith(("DB_", "REDIS_", "DATABASE_URL", "RABBITMQ_"))]:
    del os.environ[_name]


# How fast the machine is at the moment is no property of the product.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

# A free port is taken some time after it was found, and its server may be down meanwhile: no other process of
# pytest-xdist may find it too.
_worker, _workers = os.environ.get("PYTEST_XDIST_WORKER", "gw0"), os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")
embedded._PORTS = embedded._PORTS[int(_worker.removeprefix("gw")) :: int(_workers)]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse names that contain an address: the processes of pytest-xdist must collect the same names."""
    named_by_address = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if named_by_address:
        raise pytest.UsageError(f"expected names of tests without addresses, got {named_by_address}; set ids")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the exhaustive searches explored, also where other processes ran them."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "explored":
                terminalreporter.write_line(value)
