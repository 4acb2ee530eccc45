"""The stack of docker-compose.yml, up and healthy, for all tests of the scenario."""

import os
from collections.abc import Iterator

import pytest

from tests.containers.compose import HERE, ROOT, Stack, docker, need_docker
from tests.kit.waiting import wait_until

DB_PASS = 'p@ss:/w?#%25 &$HOME"\\é'
REDIS_PASSWORD = "-r€d:is/@?#%41 $REDIS 'x"
"""Characters with a special meaning in URLs, shells, Compose or the configuration of Redis."""
REPORT = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Built and started as in the README, with the passwords in `.env`; everything is removed afterwards."""
    need_docker()
    env_file = tmp_path_factory.mktemp("stack") / ".env"
    escaped = REDIS_PASSWORD.replace("$", "\\$")
    env_file.write_text(f"DB_PASS='{DB_PASS}'\nREDIS_PASSWORD=\"{escaped}\"\n", encoding="utf-8")
    project = f"peekaping-producer-test-{os.getpid()}"
    stack = Stack(project, env_file, ROOT / "docker-compose.yml", HERE / "compose.test.yml")
    try:
        stack.compose("up", "--build", "--detach")
        try:
            wait_until_healthy(stack)
        except AssertionError:
            print(stack.compose("logs", "--no-color", "--tail", "100"))
            raise
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout", "1")
        docker("image", "rm", "--force", f"peekaping-producer:{project}")


def wait_until_healthy(stack: Stack, within_s: float = 180) -> None:
    """Both replicas pass their own health check."""
    wait_until(lambda: stack.health() == ["healthy"] * 2, "both replicas are healthy", within_s=within_s, every_s=0.5)


@pytest.fixture
def report(request: pytest.FixtureRequest) -> list[str]:
    """Lines for the end of the run: measurements."""
    return request.config.stash.setdefault(REPORT, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what the tests measured."""
    for line in config.stash.get(REPORT, []):
        terminalreporter.write_line(line)
