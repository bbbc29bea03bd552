"""Worker: the solver's side of `twin.service`, in a process of its own.

It builds the live body, carries out what was done before (after a restart), and then repeats: take commands, bring
scripted acts forward by the time that has passed, improve the tissue for the time of a frame, publish. When nothing
moves and the tissue has converged it sleeps until the next command. What cannot be done is told to the other side
in a sentence and changes nothing; what breaks ends the process with a sentence.
"""

from __future__ import annotations

import contextlib
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anatomy.errors import AnatomyError
from anatomy.mesh import OrganMesh
from anatomy.progress import Progress
from solver.actions import Act, Grasp, Hold, Release, from_json
from solver.errors import SolverError
from twin.frames import FrameBuffer

if TYPE_CHECKING:
    from solver.field import OperativeField

# After a restart each act is carried out in this many frames: the tissue is elastic, only where the tools end
# matters.
RESUME_FRAMES, RESUME_ITERATIONS = 5, 8
BEAT_S = 0.25


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
    script : tuple of dict
        Acts to carry out first, as JSON.
    """

    organ: OrganMesh | str
    gravity_mm_s2: tuple[float, float, float]
    resting: bool
    reference_points: NDArray[np.float64] | None
    frame_s: float
    script: tuple[dict[str, Any], ...] = ()


def serve(pipe: Connection, order: Order) -> None:
    """Run until told to close, or until the other side is gone."""
    # Ctrl-C goes to the whole group; the other side decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    buffer: FrameBuffer | None = None
    try:
        field = _build(pipe, order)
        buffer = FrameBuffer.create(len(field.organ.points))
        buffer.publish(field.step(iterations=0))
        pipe.send(("ready", buffer.name, field.live.body.reference_points))
        _Loop(pipe, field, buffer, order.frame_s).run()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except (AnatomyError, SolverError) as error:
        _tell(pipe, ("failed", str(error)))
    except Exception as error:
        _tell(
            pipe,
            ("failed", f"The solver broke down: {type(error).__name__}: {error}", traceback.format_exc()),
        )
    finally:
        if buffer is not None:
            buffer.close()
        pipe.close()


def _tell(pipe: Connection, message: tuple[Any, ...]) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        pipe.send(message)


def _build(pipe: Connection, order: Order) -> OperativeField:
    def report(start: float, end: float) -> Progress:
        def tell(stage: str, fraction: float) -> None:
            pipe.send(("progress", stage, start + fraction * (end - start)))

        return tell

    report(0.0, 0.0)("loading the solver", 0.0)
    from solver.body import Body
    from solver.field import OperativeField
    from solver.interactive import Interactive

    organ = order.organ if isinstance(order.organ, OrganMesh) else OrganMesh.read(Path(order.organ))
    report(0.1, 0.1)("building the body", 0.0)
    body = Body(organ, gravity_mm_s2=order.gravity_mm_s2, reference_points=order.reference_points)
    field = OperativeField(Interactive(body, resting=order.resting, progress=report(0.1, 0.9)))
    for number, data in enumerate(order.script):
        report(0.9, 1.0)("going on where it stopped", number / len(order.script))
        act = from_json(data, f"action {number + 1}")
        if not isinstance(act, Hold):
            for _ in act.run(field, max(act.length_s / RESUME_FRAMES, 1e-3), RESUME_ITERATIONS):
                pass
    return field


class _Loop:
    """Commands in, frames out."""

    def __init__(self, pipe: Connection, field: OperativeField, buffer: FrameBuffer, frame_s: float) -> None:
        self.pipe, self.field, self.buffer, self.frame_s = pipe, field, buffer, frame_s
        self.waiting: deque[tuple[int, Act]] = deque()
        self.carrying: tuple[Callable[[float], None], float, float] | None = None
        self.open = True

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
            if not (still and resting):
                self.buffer.publish(frame)
            self.buffer.beat()
            resting, told = still, False
            if not resting:
                told = self._listen(max(0.0, self.frame_s - (time.monotonic() - now)))

    def _listen(self, wait_s: float) -> bool:
        """Take every command there is, waiting for the first one at most `wait_s`; True if there was one."""
        told = False
        while self.open and self.pipe.poll(wait_s):
            wait_s, told = 0.0, True
            name, *details = self.pipe.recv()
            try:
                getattr(self, f"_on_{name}")(*details)
            except SolverError as error:
                self.pipe.send(("refused", str(error)))
        return told

    def _carry(self, now: float) -> bool:
        """Bring the acts forward to now; True if one is under way."""
        while self.carrying is not None or self.waiting:
            if self.carrying is None:
                number, act = self.waiting.popleft()
                try:
                    self.carrying = (act.begin(self.field), now, act.length_s)
                except SolverError as error:
                    self.pipe.send(("declined", number, str(error)))
                    continue
            carry, began, length = self.carrying
            share = 1.0 if length <= 0 else min(1.0, (now - began) / length)
            try:
                if share > 0:
                    carry(share)
            except SolverError as error:
                self.pipe.send(("refused", str(error)))
                share = 1.0
            if share < 1.0:
                return True
            self.carrying = None
        return False

    def _on_perform(self, number: int, data: dict[str, Any]) -> None:
        act = from_json(data)
        self.waiting.append((number, act))
        # Jaws close and open at the shape the person sees, not some frames later.
        if isinstance(act, Grasp | Release):
            self._carry(time.monotonic())

    def _on_move(self, tool: str, position_mm: tuple[float, float, float]) -> None:
        self.field.live.move(tool, position_mm)

    def _on_reset(self) -> None:
        self.waiting.clear()
        self.carrying = None
        self.field.reset()

    def _on_close(self) -> None:
        self.open = False
