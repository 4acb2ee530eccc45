import json
import queue
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from peekaping_producer.errors import WorkersUnavailableError
from peekaping_producer.processes import ThreadedPool

from src.server import Server
from src.web import UrlRule, create_app


@pytest.fixture(scope="module")
def client() -> Iterator[FlaskClient]:
    """The web application with a real worker process, without an HTTP server."""
    with ThreadedPool("src.main:start_worker", processes=1) as pool:
        yield create_app(Server(pool, queue.Queue()).url_rules).test_client()


def test_a_request_is_answered_by_a_worker(client: FlaskClient) -> None:
    response = client.get("/greet/Ada Lovelace")
    assert response.status_code == 200
    (pid,) = json.loads(client.get("/health").data)["workers"]
    assert json.loads(response.data) == {"text": "Hello, Ada Lovelace!", "worker": pid}


def test_an_unknown_path_is_an_error_in_json(client: FlaskClient) -> None:
    response = client.get("/nothing")
    assert response.status_code == 404
    assert "not found" in json.loads(response.data)["error"]


@pytest.mark.parametrize(
    ("error", "status"),
    [(TimeoutError(), 504), (WorkersUnavailableError("none"), 503), (ValueError("of a worker"), 500)],
)
def test_an_error_has_a_status_and_is_json(error: Exception, status: int) -> None:
    def view() -> str:
        raise error

    response = create_app([UrlRule("/", view)]).test_client().get("/")
    assert response.status_code == status
    assert "error" in json.loads(response.data)


def test_without_a_worker_process_the_answer_is_503() -> None:
    client = create_app(Server(ThreadedPool("src.main:start_worker"), queue.Queue()).url_rules).test_client()
    assert client.get("/health").status_code == 503
    assert client.get("/greet/Ada").status_code == 503
