"""One run of `send`: configuration, messages, metrics."""

import logging
import time

from peekaping_producer.sender.report import Report
from peekaping_producer.sender.sender import Sender
from peekaping_producer.settings import Settings
from peekaping_producer.settings.groups import group_names
from peekaping_producer.settings.table import rows

log = logging.getLogger(__name__)


def log_configuration(settings: Settings) -> None:
    """Log the settings of `send`, and those that are probably a mistake."""
    own = group_names("send")
    shown = [row for row in rows(settings, {"send"}) if row.name in own or row.name == "LOG_FILE"]
    shown.sort(key=lambda row: row.name not in own)  # API_URL first
    log.info("Configuration: %s", ", ".join(f"{row.name}={row.value}" for row in shown))
    for warning in settings.warnings:
        log.warning(warning)


async def run(sender: Sender, settings: Settings, count: int) -> Report:
    """Send `count` messages and push the metrics of the run."""
    began_at = time.monotonic()
    try:
        await sender.send(count)
    finally:
        await sender.close()
    if count > 1:
        log.info("%d of %d messages sent", sender.report.sent, count)
    if settings.pushgateway_url:
        from peekaping_producer.sender.gauges import Gauges

        gauges = Gauges(sender.report, took_s=time.monotonic() - began_at)
        await gauges.push(settings.pushgateway_url.get_secret_value(), settings.environment)
    return sender.report
