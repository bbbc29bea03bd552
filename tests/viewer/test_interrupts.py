from __future__ import annotations

import contextlib
import os
import signal
import time

import pytest

from viewer.interrupts import check, remembered


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05)


def test_a_swallowed_key_stops_the_next_step_of_progress():
    before = signal.getsignal(signal.SIGINT)
    with remembered():
        check()
        with contextlib.suppress(KeyboardInterrupt):  # as a library may
            press()
        with pytest.raises(KeyboardInterrupt):
            check()
        check()
    assert signal.getsignal(signal.SIGINT) is before


def test_an_old_key_stops_no_new_command():
    with remembered(), pytest.raises(KeyboardInterrupt):
        press()
    with remembered():
        check()
