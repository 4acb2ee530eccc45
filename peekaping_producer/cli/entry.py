"""The entry point of `peekaping-producer`: answers `probe` before it imports anything else."""

import sys

_COLLECT_AFTER = 100_000
"""New objects, before a search for cyclic garbage among them. The imports of a command make more, and free none."""


def main() -> int:
    """Run the command line; returns the exit code.

    The parser and the settings cost half a second of CPU to import, and health checks run all day.
    """
    command, *options = sys.argv[1:] or [""]
    if command == "probe" and options in ([], ["--ready"]):
        from peekaping_producer.operations import probe

        return probe.main(options)
    import gc

    is_service = command in {"run", "relay", "consume", "serve"}
    _exit_on_early_signals(is_service=is_service)
    if not is_service:
        gc.set_threshold(_COLLECT_AFTER)
    from peekaping_producer.cli.main import main as run

    code = run()
    gc.freeze()  # Python would search all modules for cyclic garbage when it ends: a fifth of the CPU of `explain`
    return code


def _exit_on_early_signals(*, is_service: bool) -> None:
    """Exit without a traceback until a command handles signals: with 0 for a stop of a service, otherwise 128 + number.

    Without this, a command that is process 1 of a container would ignore SIGTERM.
    """
    import os
    import signal

    codes = {signal.SIGINT: 130, signal.SIGTERM: 0 if is_service else 143, signal.SIGHUP: 0 if is_service else 129}
    for number, code in codes.items():
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a job in the background
            signal.signal(number, lambda *_, code=code: os._exit(code))
