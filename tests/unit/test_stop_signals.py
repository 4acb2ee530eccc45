"""Which signals stop a process, and which end it at once."""

import os
import signal
from signal import SIGHUP, SIGINT, SIGTERM

import pytest

from peekaping_producer.service.stop_signals import REPEAT_S, StopSignals
from tests.kit.waiting import until

SOON, LATER = REPEAT_S / 2, REPEAT_S


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        ([(SIGTERM, 0)], ["stop"]),
        ([(SIGTERM, 0), (SIGTERM, SOON)], ["stop"]),  # GNU timeout
        ([(SIGTERM, 0), (SIGTERM, SOON), (SIGTERM, LATER)], ["stop", "abort"]),
        ([(SIGINT, 0), (SIGTERM, LATER)], ["stop", "abort"]),
        ([(SIGHUP, 0), (SIGHUP, 5)], ["stop", "stop"]),
        ([(SIGTERM, 0), (SIGHUP, 5)], ["stop", "stop"]),
        ([(SIGHUP, 0), (SIGTERM, 5)], ["stop", "stop"]),
        ([(SIGHUP, 0), (SIGTERM, 5), (SIGINT, 5 + LATER)], ["stop", "stop", "abort"]),
    ],
)
def test_a_second_signal_aborts_and_a_repeat_does_not(
    received: list[tuple[signal.Signals, float]], expected: list[str]
) -> None:
    calls: list[str] = []
    now = 0.0
    signals = StopSignals(lambda _: calls.append("stop"), lambda: calls.append("abort"), monotonic=lambda: now)
    for number, now in received:  # noqa: B007 - the clock reads it
        signals.receive(number)
    assert calls == expected


async def test_it_handles_signals_until_it_is_told_to_ignore_them() -> None:
    calls: list[signal.Signals] = []
    before = signal.getsignal(SIGHUP)
    signals = StopSignals(calls.append, lambda: calls.append(SIGINT))
    signals.listen()
    os.kill(os.getpid(), SIGHUP)
    await until(lambda: calls == [SIGHUP])
    signals.ignore()
    signal.signal(SIGHUP, before)
    assert signal.getsignal(SIGTERM) is signal.SIG_DFL
