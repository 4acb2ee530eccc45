"""The metrics of one run, pushed to a Prometheus Pushgateway.

They are gauges of the last run: the Pushgateway keeps the values of a job that has ended, so a counter would stay at 1.
"""

import logging
import time

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from peekaping_producer.errors import BrokerError
from peekaping_producer.metrics import PREFIX
from peekaping_producer.sender.report import Report
from peekaping_producer.targets import HttpTarget, url_below
from peekaping_producer.transports.http_endpoint import HttpEndpoint

log = logging.getLogger(__name__)

JOB = "peekaping-sender"
TIMEOUT_S = 5.0
_HEADERS = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
_ACCEPTED = frozenset({200, 202})


class Gauges:
    """The gauges of a run that has ended."""

    def __init__(self, report: Report, *, took_s: float, ended_at: float | None = None) -> None:
        self.registry = CollectorRegistry()
        ended_at = time.time() if ended_at is None else ended_at
        self._gauge("sent_messages", "Messages that the API accepted.").set(report.sent)
        self._gauge("failed_messages", "Messages that the API did not accept.").set(report.failed)
        attempts = self._gauge("attempts", "Attempts, by result.", "result")
        for result, number in report.attempts.items():
            attempts.labels(result).set(number)
        self._gauge("slowest_answer_seconds", "Longest time to an answer of the API.").set(report.slowest_answer_s)
        self._gauge("duration_seconds", "Duration of the run.").set(took_s)
        self._gauge("last_run_timestamp_seconds", "End of the run.").set(ended_at)
        if not report.failed:
            # The Pushgateway keeps the value of an earlier run for a gauge that is not pushed.
            self._gauge("last_success_timestamp_seconds", "End of the last run that sent all.").set(ended_at)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{PREFIX}_send_{name}", text, labels, registry=self.registry)

    async def push(self, pushgateway_url: str, environment: str) -> None:
        """Push to the group of this environment. An error is logged, and does not change the result of the run."""
        url = url_below(pushgateway_url, f"/metrics/job/{JOB}/environment/{environment}")
        endpoint = HttpEndpoint(HttpTarget(url=url, timeout_s=TIMEOUT_S))
        try:
            answer = await endpoint.post(generate_latest(self.registry), _HEADERS)
        except BrokerError as error:
            log.error("Push to Pushgateway failed: %s", error)
        else:
            if answer.status not in _ACCEPTED:
                log.error("Pushgateway returned error %d: %s", answer.status, answer.text)
        finally:
            await endpoint.close()
