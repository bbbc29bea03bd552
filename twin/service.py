"""Service: the live tissue in a process of its own, so that no window ever waits for it.

The solver runs in a spawned process (`twin.worker`): a solver inside a window freezes it, and MPI must not be forked.
Commands go in through a pipe, frames come out through shared memory (`twin.frames`), and what cannot be done comes
back as a sentence. The process keeps the log of what was done and says what it has grown by after every command; this
side keeps a copy, the commands that are not answered yet, and where the hands are. A process that dies, for whatever
reason, is therefore replaced by one that goes on where it stopped, by itself; what breaks the solver twice is taken out
with a sentence, and a process that keeps dying is given up with one.

No call of this side waits for the solver, except `wait_ready`, `restart`, `log` and `close`, each for a stated time.
"""

from __future__ import annotations

import time
import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anatomy.mesh import OrganMesh
from anatomy.progress import Progress, silent
from solver.actions import Act, Grasp, Release
from solver.frame import Frame
from twin.errors import TwinError
from twin.frames import FrameBuffer
from twin.log import ActLog
from twin.rehearsal import Rehearsal
from twin.solver_process import SolverProcess
from twin.worker import Order

FRAME_S = 1.0 / 60.0
RELEASE_S = 0.25
# How long `log` waits for the process to note what was done last.
SYNC_S = 2.0
# A process that dies so often within so many seconds is not started again.
DEATHS, DEATHS_WITHIN_S = 3, 60.0


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
    standby : bool
        Whether a second process stands by, so that a dead one is replaced within moments; it takes as much memory
        again.

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
        standby: bool = True,
    ) -> None:
        organ = source if isinstance(source, OrganMesh) else _organ_file(Path(source))
        case = None
        if not isinstance(source, OrganMesh) and (Path(source) / "case.json").is_file():
            case = str(source)
        self._order = Order(organ, gravity_mm_s2, resting, reference_points, frame_s, title, case=case)
        self._title, self._stands_by = title, standby
        self._entries: list[dict[str, Any]] = []
        # Commands that are not answered yet, in the order in which they were given.
        self._asked: dict[int, _Asked] = {}
        self._number = 0
        self._hands: dict[str, NDArray[np.float64]] = {}
        self._refusals: list[str] = []
        self._events: list[dict[str, Any]] = []
        self._measures: dict[str, Any] = {}
        self._meshes: dict[int, tuple[OrganMesh, NDArray[np.int64]]] = {}
        self._deaths: list[float] = []
        self._shown: Frame | None = None
        self._closed = False
        self._standby: SolverProcess | None = None
        self._buffers: list[FrameBuffer] = []
        self._finish = weakref.finalize(self, _remove, self._buffers)
        self._start()

    # ------------------------------------------------------------------ the process

    def _start(self) -> None:
        """Put a process to work: the one that stands by, or a new one."""
        order, standby = self._order, self._standby
        self._standby = None
        if standby is not None and standby.alive:
            self._solver = standby
            standby.send("take over", order.entries, order.first_mesh)
        else:
            self._solver = SolverProcess(order)
        self._buffer: FrameBuffer | None = None
        self._failure: str | None = None
        self._stage = ("starting", 0.0)

    @property
    def alive(self) -> bool:
        """True while the solver's process runs, or is being replaced, and has not failed."""
        self._hear()
        return self._failure is None and not self._closed

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
        return self._solver.process_id

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
            if time.monotonic() > until:
                raise TwinError(f"The solver was not ready after {timeout_s:g} s.")
            self._solver.wait(0.05)

    def restart(self, timeout_s: float = 300.0, progress: Progress = silent) -> None:
        """Replace the process by a new one that goes on where this one stopped.

        Raises
        ------
        TwinError
            As `wait_ready`.
        """
        self._hear()
        self._deaths.clear()
        self._replace()
        self.wait_ready(timeout_s, progress)

    def _replace(self) -> None:
        """End the process and start another from the log, with the commands that were not answered."""
        self._solver.end()
        _remove(self._buffers)
        self._order = replace(
            self._order, entries=tuple(self._entries), first_mesh=self._order.first_mesh + 1_000_000
        )
        self._start()
        for number, asked in self._asked.items():
            asked.begun = False
            self._solver.send(asked.name, number, *asked.details)
        for tool, position in self._hands.items():
            self._solver.send("move", tool, tuple(float(v) for v in position))

    def _recover(self, why: str) -> None:
        """After a death: another process, unless they keep dying."""
        now = time.monotonic()
        self._deaths = [at for at in self._deaths if now - at < DEATHS_WITHIN_S] + [now]
        if self._buffer is None and not self._entries and not self._asked:
            self._failure = "The solver's process ended before it was ready; start it again."
            return
        for number, asked in list(self._asked.items()):
            if asked.begun:
                asked.crashes += 1
                if asked.crashes >= 2:
                    del self._asked[number]
                    self._refusals.append(
                        f"An act was taken out, for the solver broke down on it twice. {why}"
                    )
        if len(self._deaths) > DEATHS:
            self._failure = (
                f"The solver broke down {len(self._deaths)} times within {DEATHS_WITHIN_S:g} s. {why}"
            )
            return
        self._replace()

    def close(self, timeout_s: float = 2.0) -> None:
        """End the process and remove the shared memory; may be called twice."""
        if not self._closed:
            self._closed = True
            if self._standby is not None:
                self._standby.end()
            self._solver.end(timeout_s)
            self._buffer = None
            _remove(self._buffers)

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # ------------------------------------------------------------------ frames

    def latest(self) -> Frame | None:
        """The newest frame; None before the first, the same object again where there is no newer one.

        A frame on a mesh that has not arrived yet is held back.
        """
        self._hear()
        if self._buffer is None:
            return self._shown
        frame = self._buffer.latest()
        if frame is not None and (frame.topology == 0 or frame.topology in self._meshes):
            self._shown = frame
        return self._shown

    def mesh(self, topology: int) -> tuple[OrganMesh, NDArray[np.int64]] | None:
        """The mesh of frames of a topology, in the scanned shape, and its cut faces (k, 3).

        None for 0, the one it all began with.
        """
        return self._meshes.get(topology)

    @property
    def events(self) -> list[dict[str, Any]]:
        """What a surgeon must know of what was done, oldest first; see `solver.event.Event.to_json`."""
        self._hear()
        return list(self._events)

    @property
    def measures(self) -> dict[str, Any]:
        """What the operation costs so far, see `twin.meter.OperationMeter.live`; empty where the case is not known."""
        self._hear()
        return dict(self._measures)

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

    def _hear(self) -> None:
        """Take in what the worker has said, and replace it where it has died."""
        if self._closed or self._failure is not None:
            return
        why = ""
        for name, *details in self._solver.messages():
            if name == "broke":
                why = details[0]
            else:
                getattr(self, f"_hear_{name}")(*details)
        if (why or not self._solver.alive) and self._failure is None:
            self._recover(why or "Its process ended without a word.")

    def _hear_progress(self, stage: str, fraction: float) -> None:
        self._stage = (stage, fraction)

    def _hear_ready(self, memory: str, reference_points: NDArray[np.float64]) -> None:
        self._hear_memory(memory)
        self._stage = ("ready", 1.0)
        self._order = replace(self._order, reference_points=reference_points)
        if self._standby is None and self._stands_by:
            self._standby = SolverProcess(replace(self._order, entries=()), standby=True)

    def _hear_memory(self, memory: str) -> None:
        _remove(self._buffers)
        self._buffer = FrameBuffer.attach(memory)
        self._buffers.append(self._buffer)

    def _hear_mesh(self, topology: int, organ: OrganMesh, raw: NDArray[np.int64]) -> None:
        self._meshes[topology] = organ, raw

    def _hear_events(self, events: list[dict[str, Any]]) -> None:
        self._events = events

    def _hear_measures(self, measures: dict[str, Any]) -> None:
        self._measures = measures

    def _hear_failed(self, message: str) -> None:
        self._failure = message

    def _hear_refused(self, message: str) -> None:
        self._refusals.append(message)

    def _hear_begun(self, number: int) -> None:
        if number in self._asked:
            self._asked[number].begun = True

    def _hear_done(self, number: int, entries: list[dict[str, Any]], refusal: str) -> None:
        """A command was carried out or refused; after a refused grasp nothing is in its hand."""
        self._entries += entries
        asked = self._asked.pop(number, None)
        if refusal:
            self._refusals.append(refusal)
            if asked is not None and asked.grasps:
                self._hands.pop(asked.grasps, None)

    # ------------------------------------------------------------------ commands

    @property
    def acts(self) -> tuple[Act, ...]:
        """The acts of the present plan that were carried out, as far as the process has said; never waits."""
        return Rehearsal.of_log(self._title, ActLog(self._entries)).actions

    @property
    def log(self) -> Rehearsal:
        """What was done so far, as a rehearsal that can be written and replayed.

        Waits up to `SYNC_S` for the process to note what was done last; what it has not carried out by then is added
        as asked.
        """
        if self.ready:
            number = self._ask("sync")
            until = time.monotonic() + SYNC_S
            while number in self._asked and self._failure is None and time.monotonic() < until:
                self._solver.wait(0.01)
                self._hear()
        entries = [
            *self._entries,
            *({"do": a.details[0]} for a in self._asked.values() if a.name == "perform"),
        ]
        return Rehearsal.of_log(self._title, ActLog(entries))

    def perform(self, act: Act) -> None:
        """Carry out an act in real time, after those asked for before."""
        if isinstance(act, Release):
            self._hands.pop(act.tool, None)
        number = self._ask("perform", act.to_json())
        if isinstance(act, Grasp):
            self._asked[number].grasps = act.tool

    def grasp(self, tool: str, point_mm: ArrayLike, radius_mm: float = 8.0) -> None:
        """Take hold of the tissue around a point of its present shape, LPS millimetres."""
        x, y, z = (float(v) for v in np.asarray(point_mm, dtype=np.float64))
        self.perform(Grasp(tool, point_mm=(x, y, z), radius_mm=float(radius_mm)))

    def move(self, tool: str, position_mm: ArrayLike) -> None:
        """Bring a tool that holds tissue to a position, LPS millimetres."""
        self.check()
        self._hands[tool] = np.array(position_mm, dtype=np.float64)
        self._solver.send("move", tool, tuple(float(v) for v in self._hands[tool]))

    def release(self, tool: str, duration_s: float = RELEASE_S) -> None:
        """Open the jaws; the tissue returns over a fraction of a second."""
        self.perform(Release(tool, duration_s))

    def undo(self) -> None:
        """Take back the last act."""
        self._elsewhere("undo")

    def redo(self) -> None:
        """Do again what was last taken back."""
        self._elsewhere("redo")

    def reset(self) -> None:
        """Begin anew from the untouched organ; the log keeps what was done."""
        self._elsewhere("reset")

    def branch(self, name: str) -> None:
        """Begin an alternative of this name here."""
        self._ask("branch", name)

    def go(self, name: str) -> None:
        """Make another alternative the present one."""
        self._elsewhere("go", name)

    def edit(self, number: int, act: Act) -> None:
        """Put another act in the place of the `number`-th of the present plan, and do again what followed."""
        self._elsewhere("edit", number, act.to_json())

    def _elsewhere(self, name: str, *details: Any) -> None:
        """A command after which the hands are where the log says."""
        self._hands.clear()
        self._ask(name, *details)

    def _ask(self, name: str, *details: Any) -> int:
        self.check()
        self._number += 1
        self._asked[self._number] = _Asked(name, details)
        self._solver.send(name, self._number, *details)
        return self._number


@dataclass
class _Asked:
    """A command that is not answered yet."""

    name: str
    details: tuple[Any, ...]
    begun: bool = False
    crashes: int = 0
    grasps: str = ""


def _organ_file(path: Path) -> str:
    file = path / "organ.vtu" if path.is_dir() else path
    if not file.is_file():
        raise TwinError(f"There is no organ mesh at {file}; give a case folder or a .vtu file.")
    return str(file)


def _remove(buffers: list[FrameBuffer]) -> None:
    """Remove shared memory for everybody."""
    while buffers:
        buffers.pop().close(remove=True)
