"""Where the command `peekaping-producer` begins: `probe` is answered before anything else is imported."""

import sys


def main() -> int:
    """Run the command line; returns the exit code.

    The command-line parser and the settings need half a second of CPU to import, and health checks run all day.
    """
    command, *options = sys.argv[1:] or [""]
    if command == "probe" and options in ([], ["--ready"]):
        from peekaping_producer.operations import probe

        return probe.main(options)
    from peekaping_producer.cli.main import main as run

    return run()
