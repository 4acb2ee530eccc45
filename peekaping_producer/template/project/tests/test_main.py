import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.conftest import Service, wait_until


def test_a_request_is_answered_by_a_worker_and_if_that_is_killed_by_its_replacement(service: Service) -> None:
    workers = service.get("/health")["workers"]
    answer = service.get("/greet/Ada")
    assert answer["text"] == "Hello, Ada!"
    assert answer["worker"] in workers
    with ThreadPoolExecutor() as threads:
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        later = threads.submit(service.get, "/greet/Bob")
        wait_until(lambda: "Bob" in service.log(), "the command is sent to a frozen worker")
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        assert later.result()["text"] == "Hello, Bob!"
        assert later.result()["worker"] not in workers


def test_sigterm_waits_for_requests_in_progress_and_leaves_no_process(service: Service) -> None:
    workers = service.get("/health")["workers"]
    with ThreadPoolExecutor() as threads:
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        answers = [threads.submit(service.get, f"/greet/{number}") for number in range(4)]
        wait_until(lambda: service.log().count("send {") == len(answers), "all requests are in progress")
        service.stop()
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
        assert [answer.result()["text"] for answer in answers] == [f"Hello, {number}!" for number in range(4)]
    assert service.exit_code() == 0
    wait_until(lambda: not service.is_running(), "all processes have ended")


def test_a_taken_port_is_reported(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        service = Service(tmp_path / "log", WAITRESS_PORT=str(port))
        assert service.exit_code() == 2
    assert f"expected an address and a free port, got 127.0.0.1 and {port}" in service.log()


def test_all_missing_variables_are_reported(tmp_path: Path) -> None:
    service = Service(tmp_path / "log", DEBUG="", WAITRESS_PORT="")
    assert service.exit_code() == 2
    assert [line.partition(":")[0] for line in service.log().splitlines()] == ["DEBUG", "WAITRESS_PORT"]
