"""Pairs: two halves of one piece of work, side by side where there are two cores.

Compiled loops let go of Python's lock, so a second thread of this process is enough. Whoever calls `both` has halved
the work already, in a way that does not depend on the number of threads; results are therefore the same bits either
way. Every calling thread has a helper of its own, so that a factorisation beside the frames keeps no frame waiting.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

#: Threads a piece of work may use, 1 or 2.
THREADS = min(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)

_local = threading.local()


def alone() -> None:
    """Keep the calling thread to itself from now on: it works beside others and leaves them the second core."""
    _local.alone = True


def both(first: Callable[[], object], second: Callable[[], object], worth: bool = True) -> None:
    """Do two things that share nothing they write.

    Parameters
    ----------
    first, second : callable
        Without arguments; what they return is dropped.
    worth : bool
        Whether they take longer than handing one of them over (some 50 µs).
    """
    if THREADS < 2 or not worth or getattr(_local, "alone", False):
        first()
        second()
        return
    if not hasattr(_local, "helper"):
        _local.helper = ThreadPoolExecutor(1, thread_name_prefix="second half")
    future = _local.helper.submit(second)
    try:
        first()
    finally:
        future.result()
