"""Stages of a long job: each is announced to whoever watches, timed, and kept for the record."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from anatomy.progress import Progress


class Stages:
    """Times named stages of work, one after the other.

    Parameters
    ----------
    progress : Progress
        Who watches.

    Attributes
    ----------
    seconds : dict of str to float
        Wall time of each finished stage, by key, s.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, key: str, words: str) -> Iterator[Progress]:
        """Run one stage; gives the callback that moves this stage's own fraction from 0 to 1."""
        start = time.perf_counter()
        self._progress(words, 0.0)
        yield lambda _detail, fraction: self._progress(words, min(max(fraction, 0.0), 1.0))
        self._progress(words, 1.0)
        self.seconds[key] = round(time.perf_counter() - start, 3)
