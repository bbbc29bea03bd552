"""Replay: a rehearsal carried out from rest, without a clock, and what came of it.

Every act takes its time of the rehearsal in frames of one length and a fixed number of iterations, so that the result
does not depend on how fast the machine is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anatomy.progress import Progress, silent
from solver.actions.act import FRAME_S, ITERATIONS
from solver.errors import SolverError
from twin.errors import TwinError
from twin.rehearsal import Rehearsal

if TYPE_CHECKING:
    from solver.field import OperativeField
    from solver.frame import Frame


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a replay.

    Parameters
    ----------
    times_s : ndarray, shape (f,)
        Time of each frame in the rehearsal.
    seconds : ndarray, shape (f,)
        Wall time each frame took to solve.
    iterations : ndarray, shape (f,), int64
    distance_mm, mean_distance_mm : ndarray, shape (f,)
        Estimated distance to the converged state, farthest vertex and mean.
    minimum_jacobian : ndarray, shape (f,)
    forces_N : dict of str to ndarray, shape (f, 3)
        Force with which each tool pulls the tissue, N, LPS; zero where it holds nothing.
    displacement_mm : ndarray, shape (f,)
        Largest displacement of any vertex since the rehearsal began; from the scanned shape once the mesh has changed,
        in which the organ rests unless it was asked otherwise.
    state_hash : str
        SHA-256 of the final state, `OperativeField.state_hash`.
    """

    times_s: NDArray[np.float64]
    seconds: NDArray[np.float64]
    iterations: NDArray[np.int64]
    distance_mm: NDArray[np.float64]
    mean_distance_mm: NDArray[np.float64]
    minimum_jacobian: NDArray[np.float64]
    forces_N: dict[str, NDArray[np.float64]]
    displacement_mm: NDArray[np.float64]
    state_hash: str

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.times_s)

    @property
    def peak_force_N(self) -> float:
        """Largest force of any tool, N."""
        return max((float(np.linalg.norm(f, axis=1).max()) for f in self.forces_N.values()), default=0.0)

    @property
    def peak_displacement_mm(self) -> float:
        """Largest displacement of any vertex in any frame since the rehearsal began, mm."""
        return float(self.displacement_mm.max()) if self.frames else 0.0

    @property
    def median_frame_ms(self) -> float:
        """Median time to solve a frame, ms."""
        return 1000.0 * float(np.median(self.seconds)) if self.frames else 0.0

    @property
    def worst_frame_ms(self) -> float:
        """Longest time to solve a frame, ms."""
        return 1000.0 * float(self.seconds.max()) if self.frames else 0.0


def replay(
    rehearsal: Rehearsal,
    field: OperativeField,
    on_frame: Callable[[Frame], None] | None = None,
    frame_s: float = FRAME_S,
    iterations: int = ITERATIONS,
    progress: Progress = silent,
) -> Outcome:
    """Carry out every act of the present plan, from rest.

    Parameters
    ----------
    rehearsal : Rehearsal
    field : OperativeField
        Reset first; keeps the final state.
    on_frame : callable, optional
        Called with every frame.
    frame_s : float
        Time between frames of the rehearsal, s.
    iterations : int
        Quasi-Newton iterations a frame at most.
    progress : Progress

    Returns
    -------
    Outcome

    Raises
    ------
    TwinError
        If an act cannot be carried out; the message names which.
    """
    field.reset()
    rest, topology = field.live.displacement.astype(np.float32), field.live.topology
    frames: list[Frame] = []
    moved: list[float] = []
    acts = rehearsal.actions
    total = max(rehearsal.length_s, frame_s * len(acts), 1e-9)
    for number, act in enumerate(acts, 1):
        try:
            for frame in act.run(field, frame_s, iterations):
                # On another mesh there is no vertex by vertex: the shape it began with is then the scanned one.
                since = frame.displacement - rest if frame.topology == topology else frame.displacement
                moved.append(float(np.linalg.norm(since, axis=1).max()))
                frames.append(_without_picture(frame))
                if on_frame is not None:
                    on_frame(frame)
                progress("rehearsing", min(0.999, frame.time_s / total))
        except SolverError as error:
            raise TwinError(f"action {number} ({act.act}): {error}") from error
    progress("rehearsing", 1.0)
    return _outcome(frames, moved, field.state_hash())


def _without_picture(frame: Frame) -> Frame:
    """The frame's numbers alone: a long rehearsal would otherwise keep every displacement."""
    return replace(frame, displacement=np.zeros((0, 3), dtype=np.float32))


def _outcome(frames: list[Frame], moved: list[float], state_hash: str) -> Outcome:
    tools = sorted({tool for frame in frames for tool in frame.forces_N})
    forces = {
        tool: np.array([frame.forces_N.get(tool, np.zeros(3)) for frame in frames]).reshape(-1, 3)
        for tool in tools
    }
    return Outcome(
        times_s=np.array([f.time_s for f in frames]),
        seconds=np.array([f.seconds for f in frames]),
        iterations=np.array([f.iterations for f in frames], dtype=np.int64),
        distance_mm=np.array([f.distance_mm for f in frames]),
        mean_distance_mm=np.array([f.mean_distance_mm for f in frames]),
        minimum_jacobian=np.array([f.minimum_jacobian for f in frames]),
        forces_N=forces,
        displacement_mm=np.array(moved),
        state_hash=state_hash,
    )
