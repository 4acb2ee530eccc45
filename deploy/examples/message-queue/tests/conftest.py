"""The running system, for all tests: its addresses are those of scripts/producer.py and scripts/management.py."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from producer import URL, Producer


@pytest.fixture(scope="session")
def producer() -> Producer:
    """A client of the producer, which must be healthy."""
    client = Producer()
    try:
        answer = client.get("/health")
    except OSError as error:
        pytest.exit(f"{URL}: expected the producer, got {error}. Start it: docker compose up -d")
    assert answer.status == 200, answer
    return client
