import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.conftest import Service, wait_until


def test_a_request_goes_to_a_worker_and_back_and_sigterm_leaves_no_process(service: Service) -> None:
    workers = service.get("/health")["workers"]
    answer = service.get("/greet/Ada")
    assert answer["text"] == "Hello, Ada!"
    assert answer["worker"] in workers
    service.stop()
    assert service.exit_code() == 0
    wait_until(lambda: not service.is_running(), "all processes have ended")


def test_a_request_whose_worker_is_killed_is_answered_by_its_replacement(service: Service) -> None:
    workers = service.get("/health")["workers"]
    with ThreadPoolExecutor() as threads:
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        answer = threads.submit(service.get, "/greet/Ada")
        wait_until(lambda: "send {" in service.log(), "the command is sent to a frozen worker")
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        assert answer.result()["worker"] not in workers


def test_sigterm_waits_for_requests_in_progress(service: Service) -> None:
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


def test_missing_variables_and_a_taken_port_are_reported(service: Service, tmp_path: Path) -> None:
    second = Service(tmp_path / "log 2", WAITRESS_PORT=str(service.port))
    assert second.exit_code() == 2
    assert "Address already in use" in second.log()
    third = Service(tmp_path / "log 3", DEBUG="", WAITRESS_PORT="")
    assert third.exit_code() == 2
    assert [line.partition(":")[0] for line in third.log().splitlines()] == ["DEBUG", "WAITRESS_PORT"]
