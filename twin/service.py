"""Service: the live tissue in a process of its own, so that no window ever waits for it.

The solver runs in a spawned process (`twin.worker`): a solver inside a window freezes it, and MPI must not be forked.
Commands go in through a pipe, frames come out through shared memory (`twin.frames`), and what cannot be done comes
back as a sentence. This side keeps the log of what was done, so that a process that dies, for whatever reason, is
replaced by one that goes on where it stopped: `restart`.

No call of this side waits for the solver, except `wait_ready`, `restart` and `close`, each for a stated time.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
import weakref
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anatomy.mesh import OrganMesh
from anatomy.progress import Progress, silent
from solver.actions import Act, Grasp, Hold, Pull, Release
from solver.frame import Frame
from twin.errors import TwinError
from twin.frames import FrameBuffer
from twin.rehearsal import Rehearsal
from twin.worker import Order, serve

FRAME_S = 1.0 / 60.0
RELEASE_S = 0.25
# A pause longer than this is written into the log.
PAUSE_S = 0.2
# What each thread pool of the worker's libraries is set to: the work of one frame is too small to share.
_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Service:
    """A live organ in another process.

    Parameters
    ----------
    source : OrganMesh, str or Path
        The organ, its `.vtu` file, or a case folder.
    gravity_mm_s2 : (float, float, float)
        LPS; the default is that of a patient lying on the back.
    resting : bool
        Whether the organ rests in its scanned shape; otherwise it sags from there.
    reference_points : ndarray, shape (n, 3), optional
        The stress-free shape, where it is known.
    frame_s : float
        Time of a frame, s.
    title : str
        Of the log.

    Raises
    ------
    TwinError
        If there is no such file. What goes wrong later is raised by `wait_ready` or told by `refusals`.
    """

    def __init__(
        self,
        source: OrganMesh | str | Path,
        *,
        gravity_mm_s2: tuple[float, float, float] = (0.0, 9810.0, 0.0),
        resting: bool = True,
        reference_points: NDArray[np.float64] | None = None,
        frame_s: float = FRAME_S,
        title: str = "",
    ) -> None:
        organ = source if isinstance(source, OrganMesh) else _organ_file(Path(source))
        self._order = Order(organ, gravity_mm_s2, resting, reference_points, frame_s)
        self._title = title
        # Every act in the order it was asked for, with its number; acts written for moves have none.
        self._acts: list[tuple[int, Act]] = []
        self._number = 0
        self._pulls: dict[str, _Drag] = {}
        self._positions: dict[str, NDArray[np.float64]] = {}
        self._refusals: list[str] = []
        self._last_act_s = time.monotonic()
        self._closed = False
        self._start()

    # ------------------------------------------------------------------ the process

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=serve, args=(theirs, self._order), name="organtwin-solver", daemon=True
        )
        with _environment(_THREADS):
            self._process.start()
        theirs.close()
        self._buffer: FrameBuffer | None = None
        self._failure: str | None = None
        self._stage = ("starting", 0.0)
        self._finish = weakref.finalize(self, _end, self._process, self._pipe, self._held_buffers())

    def _held_buffers(self) -> list[FrameBuffer]:
        self._buffers: list[FrameBuffer] = []
        return self._buffers

    @property
    def alive(self) -> bool:
        """True while the solver's process runs and has not failed."""
        self._hear()
        return self._failure is None and not self._closed and self._process.is_alive()

    @property
    def ready(self) -> bool:
        """True once frames come."""
        self._hear()
        return self._buffer is not None and self.alive

    @property
    def stage(self) -> tuple[str, float]:
        """What is being built, and how far all of it is (0 to 1)."""
        self._hear()
        return self._stage

    @property
    def silence_s(self) -> float:
        """Time since the solver's last sign of life, s; 0 until it is ready."""
        return 0.0 if self._buffer is None else self._buffer.silence_s

    @property
    def process_id(self) -> int | None:
        """Number of the solver's process."""
        return self._process.pid

    def wait_ready(self, timeout_s: float = 300.0, progress: Progress = silent) -> None:
        """Wait until frames come.

        Raises
        ------
        TwinError
            If the body cannot be built (with the reason), the process ends, or the time is up.
        """
        until = time.monotonic() + timeout_s
        shown: tuple[str, float] | None = None
        while True:
            self._hear()
            if self._failure is not None:
                raise TwinError(self._failure)
            if self._stage != shown:
                shown = self._stage
                progress(*shown)
            if self._buffer is not None:
                return
            if not self._process.is_alive() and not self._pipe.poll():
                raise TwinError("The solver's process ended before it was ready; start it again.")
            if time.monotonic() > until:
                raise TwinError(f"The solver was not ready after {timeout_s:g} s.")
            with contextlib.suppress(OSError, EOFError):
                self._pipe.poll(0.05)

    def restart(self, timeout_s: float = 300.0, progress: Progress = silent) -> None:
        """Replace the process by a new one that goes on where this one stopped.

        Raises
        ------
        TwinError
            As `wait_ready`.
        """
        self._hear()
        self._flush()
        self._stop(0.0)
        script = tuple(act.to_json() for _, act in self._acts)
        self._order = Order(
            self._order.organ, self._order.gravity_mm_s2, self._order.resting,
            self._order.reference_points, self._order.frame_s, script,
        )  # fmt: skip
        self._closed = False
        self._start()
        self.wait_ready(timeout_s, progress)

    def close(self, timeout_s: float = 2.0) -> None:
        """End the process and remove the shared memory; may be called twice."""
        if not self._closed:
            self._closed = True
            self._stop(timeout_s)

    def _stop(self, timeout_s: float) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._pipe.send(("close",))
        self._process.join(timeout_s)
        self._buffer = None
        self._finish()

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # ------------------------------------------------------------------ frames

    def latest(self) -> Frame | None:
        """The newest frame; None before the first, the same object again where there is no newer one."""
        self._hear()
        return None if self._buffer is None else self._buffer.latest()

    def refusals(self) -> list[str]:
        """What could not be done since the last call, a sentence each."""
        self._hear()
        told, self._refusals = self._refusals, []
        return told

    def check(self) -> None:
        """Raise what ended the solver, if anything has.

        Raises
        ------
        TwinError
        """
        self._hear()
        if self._failure is not None:
            raise TwinError(self._failure)
        if not self._closed and not self._process.is_alive():
            raise TwinError("The solver's process has ended; restart it to go on where it stopped.")

    def _hear(self) -> None:
        """Take in what the worker has said."""
        try:
            while not self._closed and self._pipe.poll():
                name, *details = self._pipe.recv()
                getattr(self, f"_hear_{name}")(*details)
        except (EOFError, OSError):
            return

    def _hear_progress(self, stage: str, fraction: float) -> None:
        self._stage = (stage, fraction)

    def _hear_ready(self, memory: str, reference_points: NDArray[np.float64]) -> None:
        self._buffer = FrameBuffer.attach(memory)
        self._buffers.append(self._buffer)
        self._stage = ("ready", 1.0)
        order = self._order
        self._order = Order(
            order.organ, order.gravity_mm_s2, order.resting, reference_points, order.frame_s, order.script
        )

    def _hear_failed(self, message: str, details: str = "") -> None:
        self._failure = message

    def _hear_refused(self, message: str) -> None:
        self._refusals.append(message)

    def _hear_declined(self, number: int, message: str) -> None:
        """Strike an act from the log; after a grasp that failed also what its tool did with nothing in it."""
        self._refusals.append(message)
        at = next((i for i, (n, _) in enumerate(self._acts) if n == number), None)
        if at is None:
            return
        act = self._acts.pop(at)[1]
        if not isinstance(act, Grasp):
            return
        rest = self._acts[at:]
        again = next(
            (i for i, (_, a) in enumerate(rest) if isinstance(a, Grasp) and a.tool == act.tool), None
        )
        if again is None:
            self._positions.pop(act.tool, None)
            self._pulls.pop(act.tool, None)
            again = len(rest)
        idle = [entry for entry in rest[:again] if getattr(entry[1], "tool", None) != act.tool]
        self._acts[at:] = idle + rest[again:]

    # ------------------------------------------------------------------ commands

    @property
    def log(self) -> Rehearsal:
        """What was done so far, as a rehearsal that can be written and replayed."""
        self._hear()
        self._flush()
        return Rehearsal(self._title, [act for _, act in self._acts])

    def perform(self, act: Act) -> None:
        """Carry out an act in real time, after those asked for before."""
        self.check()
        self._flush()
        pause = time.monotonic() - self._last_act_s
        if pause > PAUSE_S and self._acts:
            self._acts.append((0, Hold(round(pause, 3))))
        self._number += 1
        self._acts.append((self._number, act))
        self._last_act_s = time.monotonic() + act.length_s
        if isinstance(act, Pull) and act.tool in self._positions:
            self._positions[act.tool] = self._positions[act.tool] + np.asarray(act.by_mm)
        if isinstance(act, Release):
            self._positions.pop(act.tool, None)
        self._send("perform", self._number, act.to_json())

    def grasp(self, tool: str, point_mm: ArrayLike, radius_mm: float = 8.0) -> None:
        """Take hold of the tissue around a point of its present shape, LPS millimetres."""
        x, y, z = (float(v) for v in np.asarray(point_mm, dtype=np.float64))
        act = Grasp(tool, point_mm=(x, y, z), radius_mm=float(radius_mm))
        self._positions[tool] = np.array([x, y, z])
        self.perform(act)

    def move(self, tool: str, position_mm: ArrayLike) -> None:
        """Bring a tool that holds tissue to a position, LPS millimetres."""
        self.check()
        position = np.asarray(position_mm, dtype=np.float64)
        if tool not in self._positions:
            return
        for other in list(self._pulls):
            if other != tool:
                self._flush_pull(other)
        if tool not in self._pulls:
            self._pulls[tool] = _Drag(self._positions[tool].copy(), time.monotonic())
        self._positions[tool] = position.copy()
        self._last_act_s = time.monotonic()
        self._send("move", tool, tuple(float(v) for v in position))

    def release(self, tool: str, duration_s: float = RELEASE_S) -> None:
        """Open the jaws; the tissue returns over a fraction of a second."""
        self.perform(Release(tool, duration_s))

    def reset(self) -> None:
        """Back to rest; in the log every tool lets go."""
        self._flush()
        for tool in list(self._positions):
            self._acts.append((0, Release(tool, 0.0)))
        self._positions.clear()
        self._send("reset")

    def _send(self, *message: Any) -> None:
        self.check()
        try:
            self._pipe.send(message)
        except (OSError, ValueError) as error:
            raise TwinError(
                "The solver's process has ended; restart it to go on where it stopped."
            ) from error

    def _flush(self) -> None:
        for tool in list(self._pulls):
            self._flush_pull(tool)

    def _flush_pull(self, tool: str) -> None:
        """Write the moves of a tool since its last act into the log, as one pull."""
        drag = self._pulls.pop(tool)
        x, y, z = (float(v) for v in self._positions[tool] - drag.start_mm)
        duration = max(0.0, round(self._last_act_s - drag.began_s, 3))
        self._acts.append((0, Pull(tool, (x, y, z), duration)))


class _Drag:
    """Moves of a tool under way: where and when they began."""

    def __init__(self, start_mm: NDArray[np.float64], began_s: float) -> None:
        self.start_mm, self.began_s = start_mm, began_s


def _organ_file(path: Path) -> str:
    file = path / "organ.vtu" if path.is_dir() else path
    if not file.is_file():
        raise TwinError(f"There is no organ mesh at {file}; give a case folder or a .vtu file.")
    return str(file)


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


def _end(process: BaseProcess, pipe: Connection, buffers: list[FrameBuffer]) -> None:
    """End a process and remove what it shared, whatever state it is in."""
    if process.is_alive():
        process.terminate()
        process.join(1.0)
        if process.is_alive():
            process.kill()
            process.join(1.0)
    pipe.close()
    while buffers:
        buffers.pop().close(remove=True)
