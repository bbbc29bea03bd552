"""Ctrl-C that is not lost: some libraries swallow the KeyboardInterrupt that reaches them, as while they are imported.

Within `remembered` the key is also remembered, and `check`, which every step of progress calls, raises again. Others
make an error of their own of it, as an import that was stopped half-way: that is the key, too.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_pressed = threading.Event()


@contextmanager
def remembered() -> Iterator[None]:
    """Remember Ctrl-C until the end of the block; elsewhere than in the main thread this does nothing.

    Raises
    ------
    KeyboardInterrupt
        If the key was pressed, or the block ended in an error after it was.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _pressed.clear()
    before = signal.signal(signal.SIGINT, _press)
    try:
        yield
    except Exception as error:
        if _pressed.is_set():
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def check() -> None:
    """Raise KeyboardInterrupt if Ctrl-C was pressed, even where the first one was swallowed."""
    if _pressed.is_set():
        _pressed.clear()
        raise KeyboardInterrupt


def _press(_signal: int, _frame: FrameType | None) -> None:
    _pressed.set()
    raise KeyboardInterrupt
