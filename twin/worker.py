"""Worker: the solver's side of `twin.service`, in a process of its own.

It builds the operative field, carries out what was done before (after a restart), and then repeats: take commands,
bring acts forward by the time that has passed, improve the tissue for the time of a frame, publish. When nothing
moves and the tissue has converged it sleeps until the next command. It writes the log (`twin.session`): every command
has a number and is answered by what became of it and the entries the log has grown by, so that the other side can
start another process where this one stopped. What cannot be done is told in a sentence and changes nothing; what
breaks ends the process with a sentence.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomy.errors import AnatomyError
from anatomy.mesh import OrganMesh
from anatomy.progress import Progress
from solver.actions import Act, Hold, Pull, from_json
from solver.errors import SolverError
from solver.event import Event
from solver.frame import Frame
from twin.errors import TwinError
from twin.frames import FrameBuffer
from twin.log import ActLog
from twin.margins import TUMOUR
from twin.meter import OperationMeter
from twin.session import Session

# After a restart each act is carried out in this many frames: only where the tools end matters.
RESUME_FRAMES = 5
# Niceness of a process that stands by, while it builds.
GENTLE = 10
BEAT_S = 0.25
# What the operation costs is told so often, s.
MEASURE_S = 0.5
# A pause longer than this is written into the log.
PAUSE_S = 0.2


@dataclass(frozen=True)
class Order:
    """What the worker is to build.

    Parameters
    ----------
    organ : OrganMesh or str
        The mesh, or the file it is in.
    gravity_mm_s2 : (float, float, float)
    resting : bool
        Whether the organ rests in its scanned shape, or sags from it.
    reference_points : ndarray, shape (n, 3), optional
        The stress-free shape, where it is known.
    frame_s : float
        Time of a frame.
    title : str
        Of the rehearsal.
    entries : tuple of dict
        The log to go on from, see `twin.log`.
    first_mesh : int
        Added to the numbers of meshes.
    case : str, optional
        Folder of the case, whose vessels and tumours the field then knows.
    """

    organ: OrganMesh | str
    gravity_mm_s2: tuple[float, float, float]
    resting: bool
    reference_points: NDArray[np.float64] | None
    frame_s: float
    title: str = ""
    entries: tuple[dict[str, Any], ...] = ()
    first_mesh: int = 0
    case: str | None = None


def serve(pipe: Connection, order: Order, standby: bool = False) -> None:
    """Run until told to close, or until the other side is gone; to stand by, build first and wait to take over."""
    # Ctrl-C goes to the whole group; the other side decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loop: _Loop | None = None
    try:
        session = _gently(lambda: _build(pipe, order)) if standby else _build(pipe, order)
        reference_points = session.field.live.body.reference_points
        if standby:
            name, *details = pipe.recv()
            if name != "take over":
                return
            order = replace(order, entries=details[0], first_mesh=details[1])
        session.resume(ActLog(order.entries), _report(pipe, 0.9, 1.0), RESUME_FRAMES)
        loop = _Loop(pipe, session, order.frame_s, order.first_mesh)
        pipe.send(("ready", loop.buffer.name, reference_points))
        loop.run()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except (AnatomyError, SolverError) as error:
        _tell(pipe, ("failed", str(error)))
    except Exception as error:
        _tell(pipe, ("broke", f"{type(error).__name__}: {error}"))
        traceback.print_exc()
    finally:
        if loop is not None:
            loop.buffer.close()
        pipe.close()


def _tell(pipe: Connection, message: tuple[Any, ...]) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        pipe.send(message)


def _report(pipe: Connection, start: float, end: float) -> Progress:
    def tell(stage: str, fraction: float) -> None:
        pipe.send(("progress", stage, start + fraction * (end - start)))

    return tell


def _gently(build: Callable[[], Session]) -> Session:
    """Build in a thread that gives way to whatever else wants the processor, and hand on what it raises."""

    def work() -> Session:
        # On Linux each thread has its own; elsewhere it stays as it is.
        with contextlib.suppress(AttributeError, OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), GENTLE)
        return build()

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(work).result()


def _build(pipe: Connection, order: Order) -> Session:
    _report(pipe, 0.0, 0.0)("loading the solver", 0.0)
    from solver.body import Body
    from solver.field import OperativeField
    from solver.interactive import Interactive
    from twin.case import Case
    from twin.operating import with_vessels

    organ = order.organ if isinstance(order.organ, OrganMesh) else OrganMesh.read(Path(order.organ))
    _report(pipe, 0.1, 0.1)("building the body", 0.0)
    body = Body(organ, gravity_mm_s2=order.gravity_mm_s2, reference_points=order.reference_points)
    live = Interactive(body, resting=order.resting, progress=_report(pipe, 0.1, 0.8))
    if order.case is None:
        field = OperativeField(live)
    else:
        field = with_vessels(live, Case.open(order.case), progress=_report(pipe, 0.8, 0.9))
    return Session(field, order.title)


def capacity_for(vertices: int) -> int:
    """Vertices to make room for, so that a few cuts find it."""
    return 2 * vertices + 4096


class _Loop:
    """Commands in, frames out."""

    def __init__(self, pipe: Connection, session: Session, frame_s: float, first_mesh: int = 0) -> None:
        self.pipe, self.session, self.frame_s = pipe, session, frame_s
        self.field = session.field
        self.buffer = FrameBuffer.create(capacity_for(len(self.field.organ.points)))
        self.waiting: deque[tuple[int, str, tuple[Any, ...]]] = deque()
        self.carrying: _Carried | None = None
        self.drags: dict[str, _Drag] = {}
        self.open = True
        # Pauses are counted in time of the rehearsal from the end of the last act.
        self.idle_since_s = self.field.live.time_s
        self.told_entries = len(session.log.entries)
        self.told_events: tuple[Event, ...] = ()
        self.told_meshes = {0}
        # Numbers of meshes of this process, so that none is taken for one of a process before it.
        self.first_mesh = first_mesh
        self.meter = OperationMeter(self.field) if TUMOUR in self.field.tet_data else None
        self.measured_s = -np.inf
        self._publish(self.field.step(iterations=0))

    def run(self) -> None:
        """Until the command to close."""
        last = time.monotonic()
        resting = told = False
        while self.open:
            told |= self._listen(0.0 if not resting else BEAT_S)
            now = time.monotonic()
            busy = self._carry(now)
            frame = self.field.step(budget_s=0.8 * self.frame_s, advance_s=now - last)
            last = now
            # A tool that moves gently needs no iteration, but its frames are news all the same.
            still = not told and not busy and frame.iterations == 0 and frame.state != "approaching"
            still = still and not self.field.processes
            if not (still and resting):
                self._publish(frame)
            self.buffer.beat()
            resting, told = still, False
            if not resting:
                told = self._listen(max(0.0, self.frame_s - (time.monotonic() - now)))

    # ------------------------------------------------------------------ what is told

    def _publish(self, frame: Frame) -> None:
        if frame.topology:
            frame = replace(frame, topology=frame.topology + self.first_mesh)
        if frame.topology not in self.told_meshes:
            self.told_meshes.add(frame.topology)
            self.pipe.send(("mesh", frame.topology, self.field.organ, self.field.live.body.raw))
        if len(frame.displacement) > self.buffer.capacity:
            self.buffer.close()
            self.buffer = FrameBuffer.create(capacity_for(len(frame.displacement)))
            self.pipe.send(("memory", self.buffer.name))
        self.buffer.publish(frame)
        self._tell_events()
        if self.meter is not None and time.monotonic() - self.measured_s > MEASURE_S:
            self.measured_s = time.monotonic()
            self.pipe.send(("measures", self.meter.live()))

    def _tell_events(self) -> None:
        events = self.field.events
        if events is not self.told_events:
            self.told_events = events
            self.pipe.send(("events", [event.to_json() for event in events]))

    def _answer(self, number: int, refusal: str = "") -> None:
        """Say what became of a command, and what the log has grown by."""
        entries = self.session.log.entries
        new, self.told_entries = list(entries[self.told_entries :]), len(entries)
        self.pipe.send(("done", number, new, refusal))

    # ------------------------------------------------------------------ commands

    def _listen(self, wait_s: float) -> bool:
        """Take every command there is, waiting for the first one at most `wait_s`; True if there was one."""
        told = False
        while self.open and self.pipe.poll(wait_s):
            wait_s, told = 0.0, True
            name, *details = self.pipe.recv()
            if name == "close":
                self.open = False
            elif name == "move":
                self._move(*details)
            else:
                number, *details = details
                self.waiting.append((number, name, tuple(details)))
                # Jaws close and open at the shape the person sees, not some frames later.
                if name == "perform" and details[0].get("act") in ("grasp", "release"):
                    self._carry(time.monotonic())
        return told

    def _move(self, tool: str, position_mm: tuple[float, float, float]) -> None:
        """A hand moves a tool; all moves until the next act are one pull."""
        live = self.field.live
        if tool not in live.tools:
            return  # a hand with nothing in it moves freely
        try:
            if tool not in self.drags:
                self._flush()
                self._pause()
                self.drags[tool] = _Drag(live.position_of(tool), live.time_s)
            live.move(tool, position_mm)
            self.idle_since_s = live.time_s
        except SolverError as error:
            self.pipe.send(("refused", str(error)))

    def _carry(self, now: float) -> bool:
        """Bring commands and acts forward to now; True if an act is under way."""
        while self.carrying is not None or self.waiting:
            if self.carrying is None:
                self._start(*self.waiting.popleft(), now)
                continue
            act = self.carrying
            share = 1.0 if act.length_s <= 0 else min(1.0, (now - act.began_s) / act.length_s)
            try:
                if share > 0:
                    act.carry(share)
            except SolverError as error:
                self.session.cancel()
                self._answer(act.number, str(error))
                self.carrying = None
                continue
            if share < 1.0:
                return True
            self.session.done(act.act)
            self.idle_since_s = self.field.live.time_s
            self._answer(act.number)
            self.carrying = None
        return False

    def _start(self, number: int, name: str, details: tuple[Any, ...], now: float) -> None:
        """Begin an act, or carry out a command that takes no time."""
        self.pipe.send(("begun", number))
        self._flush()
        try:
            if name == "perform":
                self._pause()
                act = from_json(details[0])
                self.carrying = _Carried(number, act, self.session.begin(act), now, act.length_s)
                return
            getattr(self, f"_on_{name}")(*details)
        except (SolverError, TwinError) as error:
            self._answer(number, str(error))
            return
        self.idle_since_s = self.field.live.time_s
        self._answer(number)

    def _flush(self) -> None:
        """Note the moves of tools since their last act, as one pull each."""
        for tool, drag in self.drags.items():
            if tool in self.field.live.tools:
                x, y, z = (float(v) for v in self.field.live.position_of(tool) - drag.start_mm)
                length = max(0.0, round(self.idle_since_s - drag.began_s, 3))
                self.session.done(Pull(tool, (x, y, z), length))
        self.drags.clear()

    def _pause(self) -> None:
        """Note a pause since the last act, if it was long."""
        pause = self.field.live.time_s - self.idle_since_s
        if pause > PAUSE_S and self.session.log.can_undo:
            self.session.done(Hold(round(pause, 3)))
        self.idle_since_s = self.field.live.time_s

    def _on_sync(self) -> None:
        """Nothing, but what was moved has been noted."""

    def _on_undo(self) -> None:
        self.session.undo(pauses_too=True)

    def _on_redo(self) -> None:
        self.session.redo()

    def _on_reset(self) -> None:
        self.session.reset()

    def _on_branch(self, name: str) -> None:
        self.session.branch(name)

    def _on_go(self, name: str) -> None:
        self.session.go(name)

    def _on_edit(self, number: int, data: dict[str, Any]) -> None:
        self.session.edit(number, from_json(data))


@dataclass
class _Carried:
    """An act under way."""

    number: int
    act: Act
    carry: Callable[[float], None]
    began_s: float
    length_s: float


@dataclass
class _Drag:
    """Moves of a tool under way: where and when they began."""

    start_mm: NDArray[np.float64]
    began_s: float
