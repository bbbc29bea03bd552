"""Rehearsal: what was done to the organ, as an append-only list of acts that can be replayed.

A rehearsal is data: a title and acts (`solver.actions`), written as JSON,

    {"format": "organtwin-rehearsal", "version": 1, "title": "Lift the liver edge", "actions": [{"act": "grasp", …}, …]}

and carried out on the operative field by `replay`. The same acts on the same body give the same state, bit for bit
on one machine and version, and the hash of that state says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anatomy.files import whole_or_nothing
from anatomy.progress import Progress, silent
from solver.actions import Act, from_json
from solver.actions.act import FRAME_S, ITERATIONS
from solver.errors import SolverError
from twin.errors import TwinError

if TYPE_CHECKING:
    from solver.field import OperativeField
    from solver.frame import Frame

FORMAT = "organtwin-rehearsal"
VERSION = 1


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
        Largest displacement of any vertex since the rehearsal began.
    state_hash : str
        SHA-256 of the acts and the final displacement.
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


class Rehearsal:
    """An append-only log of acts.

    Parameters
    ----------
    title : str
        What a person calls it.
    actions : iterable of Act
    """

    def __init__(self, title: str = "", actions: Iterable[Act] = ()) -> None:
        self.title = title
        self._actions: list[Act] = []
        for act in actions:
            self.append(act)

    @property
    def actions(self) -> tuple[Act, ...]:
        """The acts, in order."""
        return tuple(self._actions)

    def __len__(self) -> int:
        return len(self._actions)

    def __iter__(self) -> Iterator[Act]:
        return iter(self._actions)

    @property
    def length_s(self) -> float:
        """Time all acts take together, s."""
        return sum(act.length_s for act in self._actions)

    def append(self, act: Act) -> None:
        """Add an act at the end."""
        if not isinstance(act, Act):
            raise TwinError(f"A rehearsal takes acts of solver.actions, not {type(act).__name__}.")
        self._actions.append(act)

    # ------------------------------------------------------------------ files

    def to_json(self) -> dict[str, Any]:
        """The script as JSON-ready data."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "title": self.title,
            "actions": [act.to_json() for act in self._actions],
        }

    @classmethod
    def from_json(cls, data: Any) -> Rehearsal:
        """A rehearsal from JSON data.

        Raises
        ------
        TwinError
            If it is no rehearsal, or of a version this one cannot read.
        SolverError
            If an act cannot be read; the message names which.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise TwinError(f'This is not a rehearsal: it lacks \'"format": "{FORMAT}"\'.')
        if data.get("version") != VERSION:
            raise TwinError(
                f"The rehearsal is of version {data.get('version')!r}, and this program reads version {VERSION}; "
                "update organtwin or write the script anew."
            )
        extra = sorted(set(data) - {"format", "version", "title", "actions"})
        if extra:
            raise TwinError(
                f"A rehearsal has no key '{extra[0]}'; it has format, version, title and actions."
            )
        actions = data.get("actions")
        if not isinstance(actions, list):
            raise TwinError("The rehearsal has no list 'actions'.")
        read = [from_json(act, f"action {number}") for number, act in enumerate(actions, 1)]
        return cls(str(data.get("title", "")), read)

    @classmethod
    def read(cls, path: str | Path) -> Rehearsal:
        """Read a script.

        Raises
        ------
        TwinError
            If the file cannot be read or is no rehearsal; the message names the file and the act.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise TwinError(f"The rehearsal {path} cannot be read: {error.strerror}.") from error
        except ValueError as error:
            raise TwinError(f"The rehearsal {path} is not valid JSON: {error}.") from error
        try:
            return cls.from_json(data)
        except (TwinError, SolverError) as error:
            raise TwinError(f"{path}: {error}") from error

    def write(self, path: str | Path) -> None:
        """Write the script; whole or not at all.

        Raises
        ------
        TwinError
            If it cannot be written.
        """
        text = json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n"
        with whole_or_nothing(Path(path), TwinError) as temporary:
            temporary.write_text(text, encoding="utf-8")

    # ------------------------------------------------------------------ replay

    def replay(
        self,
        field: OperativeField,
        on_frame: Callable[[Frame], None] | None = None,
        frame_s: float = FRAME_S,
        iterations: int = ITERATIONS,
        progress: Progress = silent,
    ) -> Outcome:
        """Carry out every act, from rest.

        Parameters
        ----------
        field : OperativeField
            Reset first; keeps the final state.
        on_frame : callable, optional
            Called with every frame.
        frame_s : float
            Time between frames of the rehearsal, s.
        iterations : int
            Quasi-Newton iterations a frame at most; the result does not depend on how fast the machine is.
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
        rest = field.live.displacement.astype(np.float32)
        frames: list[Frame] = []
        moved: list[float] = []
        total = max(self.length_s, frame_s * len(self._actions), 1e-9)
        for number, act in enumerate(self._actions, 1):
            try:
                for frame in act.run(field, frame_s, iterations):
                    moved.append(float(np.linalg.norm(frame.displacement - rest, axis=1).max()))
                    frames.append(_without_picture(frame))
                    if on_frame is not None:
                        on_frame(frame)
                    progress("rehearsing", min(0.999, frame.time_s / total))
            except SolverError as error:
                raise TwinError(f"action {number} ({act.act}): {error}") from error
        progress("rehearsing", 1.0)
        return _outcome(frames, moved, self._hash(field))

    def _hash(self, field: OperativeField) -> str:
        digest = hashlib.sha256(json.dumps(self.to_json()["actions"], sort_keys=True).encode())
        digest.update(np.ascontiguousarray(field.live.displacement, dtype="<f8").tobytes())
        return digest.hexdigest()


def _without_picture(frame: Frame) -> Frame:
    """The frame's numbers alone: a long rehearsal would otherwise keep every displacement."""
    from dataclasses import replace

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
