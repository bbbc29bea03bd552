"""SolverProcess: one process of the solver, at work or standing by to take over.

A process that stands by has built the field, gently, and waits for the log of the one it replaces; to take over then
takes as long as that log takes to be carried out, not as long as the solver takes to load.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import weakref
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from twin.worker import Order, serve

# What each thread pool of the worker's libraries is set to: the work of one frame is too small to share.
_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class SolverProcess:
    """A spawned process that runs `twin.worker.serve`.

    Parameters
    ----------
    order : Order
        What it builds.
    standby : bool
        Whether it waits, once built, until told to take over.
    """

    def __init__(self, order: Order, standby: bool = False) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=serve, args=(theirs, order, standby), name="organtwin-solver", daemon=True
        )
        with _environment(_THREADS):
            self._process.start()
        theirs.close()
        self._finish = weakref.finalize(self, _end, self._process, self.pipe)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.is_alive()

    @property
    def process_id(self) -> int | None:
        """Its number."""
        return self._process.pid

    def messages(self) -> Iterator[tuple[Any, ...]]:
        """What it has said and nobody has taken in; ends without a word where it has died."""
        with contextlib.suppress(EOFError, OSError):
            while self.pipe.poll():
                yield self.pipe.recv()

    def send(self, *message: Any) -> None:
        """Tell it something; where it has died, nothing happens."""
        with contextlib.suppress(OSError, ValueError):
            self.pipe.send(message)

    def wait(self, seconds: float) -> None:
        """Until it has said something, or the time is up."""
        with contextlib.suppress(EOFError, OSError):
            self.pipe.poll(seconds)

    def end(self, timeout_s: float = 0.0) -> None:
        """Ask it to close, and end it after a time."""
        self.send("close")
        self._process.join(timeout_s)
        self._finish()


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Environment variables a started process inherits, unless the user has set them."""
    added = [name for name in values if name not in os.environ]
    os.environ.update({name: values[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _end(process: BaseProcess, pipe: Connection) -> None:
    """End a process, whatever state it is in."""
    if process.is_alive():
        process.terminate()
        process.join(1.0)
        if process.is_alive():
            process.kill()
            process.join(1.0)
    pipe.close()
