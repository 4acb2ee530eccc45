"""Print the depth and the rates of each queue, as RabbitMQ's management API reports them: python scripts/monitor.py."""

import sys

from management import management_url, queues

_COLUMNS = ("ready", "unacked", "consumers", "published/s", "delivered/s", "acked/s")


def main() -> int:
    """Print the table; returns the exit code."""
    try:
        found = queues()
    except OSError as error:
        print(
            f"monitor: {management_url()}: expected an answer of RabbitMQ's management API, got {error}",
            file=sys.stderr,
        )
        print("Start RabbitMQ (make up), or set MANAGEMENT_PORT or MANAGEMENT_URL.", file=sys.stderr)
        return 1
    width = max(map(len, ["queue", *found]))
    print(f"{'queue':{width}}", *(f"{column:>11}" for column in _COLUMNS))
    for name, queue in found.items():
        counts = (queue.ready, queue.unacked, queue.consumers)
        rates = (queue.rate("publish"), queue.rate("deliver_get"), queue.rate("ack"))
        print(f"{name:{width}}", *(f"{n:11,}" for n in counts), *(f"{rate:11,.1f}" for rate in rates))
    return 0


if __name__ == "__main__":
    sys.exit(main())
