from __future__ import annotations

import contextlib
import signal
import threading

import pytest

from viewer.interrupts import check, remembered


def press() -> None:
    signal.raise_signal(signal.SIGINT)


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


def test_a_key_that_became_an_error_of_a_library_is_still_the_key():
    def imported():  # as a library that is stopped while it is imported may
        try:
            press()
        except KeyboardInterrupt as key:
            raise ImportError("half imported") from key

    with pytest.raises(KeyboardInterrupt), remembered():
        imported()
    with pytest.raises(ImportError), remembered():
        raise ImportError("not there")


def test_a_command_that_ended_all_the_same_has_ended():
    done = []
    with remembered():
        with contextlib.suppress(KeyboardInterrupt):
            press()
        done.append(True)
    assert done


def test_another_thread_keeps_no_watch():
    before, seen = signal.getsignal(signal.SIGINT), []

    def run():
        with remembered():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


def test_an_old_key_stops_no_new_command():
    with remembered(), pytest.raises(KeyboardInterrupt):
        press()
    with remembered():
        check()
