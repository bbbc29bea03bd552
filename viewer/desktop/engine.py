"""Engine: the solver's process as the window sees it. No call of it waits, and nothing it does raises into Qt."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh
from solver.actions import Act
from solver.errors import SolverError
from solver.frame import Frame
from twin.errors import TwinError
from twin.service import Service

# A solver that gives no sign of life for so long is said to have stopped, s.
SILENT_S = 20.0


class Engine:
    """What the window asks of the solver: the tool's hands, frames, and how it fares.

    Parameters
    ----------
    case : Case
        Title, folder (`path`) and organ mesh (`organ`, sent where the folder has none).
    """

    def __init__(self, case: Any) -> None:
        folder = Path(case.path)
        source = folder if (folder / "organ.vtu").is_file() else case.organ
        self._service = Service(source, title=case.title)
        self._whole: OrganMesh = case.organ
        self._restarting: threading.Thread | None = None
        self._restart_stage = ("starting again", 0.0)
        self._failure = ""
        self._frame: Frame | None = None
        self._step_ms = 0.0

    # How it fares --------------------------------------------------------------------------------------

    @property
    def busy(self) -> tuple[str, float] | None:
        """What it is getting ready with and how far (0 to 1); None once frames come, or after a failure."""
        if self._restarting is not None:
            if self._restarting.is_alive():
                return self._restart_stage
            self._restarting = None
        if self.failure or self._service.ready:
            return None
        return self._service.stage

    @property
    def failure(self) -> str:
        """Why it stopped; empty while all is well."""
        if self._restarting is not None and self._restarting.is_alive():
            return ""
        if not self._failure:
            try:
                self._service.check()
            except TwinError as error:
                self._failure = str(error)
            if self._service.silence_s > SILENT_S:
                self._failure = f"It has not answered for {self._service.silence_s:.0f} s."
        return self._failure

    @property
    def step_ms(self) -> float:
        """Time the solver took for its newest step that had something to solve, ms."""
        return self._step_ms

    @property
    def age_s(self) -> float:
        """Time since the newest frame was computed, s."""
        return 0.0 if self._frame is None else self._frame.age_s

    def new_frame(self) -> Frame | None:
        """The newest frame, if there is one that was not handed out before."""
        if self._restarting is not None:
            return None
        frame = self._service.latest()
        if frame is None or frame is self._frame:
            return None
        self._frame = frame
        if frame.iterations:
            self._step_ms = 1000.0 * frame.seconds
        return frame

    def refusals(self) -> list[str]:
        """What could not be done since the last call, a sentence each."""
        return [] if self._restarting is not None else self._service.refusals()

    @property
    def process_id(self) -> int | None:
        """Number of the solver's process."""
        return self._service.process_id

    # What it does --------------------------------------------------------------------------------------

    def grasp(self, tool: str, point_mm: NDArray[np.float64], radius_mm: float) -> None:
        """Close the jaws around a point of the present shape, LPS mm."""
        self._ask("grasp", tool, point_mm, radius_mm)

    def move(self, tool: str, position_mm: NDArray[np.float64]) -> None:
        """Bring a tool to a position, LPS mm."""
        self._ask("move", tool, position_mm)

    def release(self, tool: str) -> None:
        """Open the jaws."""
        self._ask("release", tool)

    def reset(self) -> None:
        """Back to rest."""
        self._ask("reset")

    def _ask(self, command: str, *details: Any) -> None:
        if self._restarting is not None or self._failure:
            return
        try:
            getattr(self._service, command)(*details)
        except (TwinError, SolverError) as error:
            self._failure = str(error)

    def perform(self, act: Act) -> None:
        """Carry out an act after those asked for before."""
        self._ask("perform", act)

    def undo(self) -> None:
        """Take back the last act."""
        self._ask("undo")

    def redo(self) -> None:
        """Do again what was last taken back."""
        self._ask("redo")

    def mesh(self, topology: int) -> tuple[OrganMesh, NDArray[np.int64]]:
        """The mesh that frames of a topology belong to, and its cut faces."""
        return self._service.mesh(topology) or (self._whole, np.zeros((0, 3), dtype=np.int64))

    @property
    def events(self) -> list[dict[str, Any]]:
        """What a surgeon must know of what was done, oldest first."""
        return [] if self._restarting is not None else self._service.events

    @property
    def measures(self) -> dict[str, Any]:
        """What the operation costs so far, see `twin.meter`; empty until it is known."""
        return {} if self._restarting is not None else self._service.measures

    @property
    def acts(self) -> tuple[Act, ...]:
        """The acts of the present plan that were carried out."""
        return self._service.acts

    def save_log(self, path: str) -> int:
        """Write what was done as a rehearsal script; return the number of acts.

        Raises
        ------
        TwinError
            If the file cannot be written.
        """
        log = self._service.log
        log.write(path)
        return len(log)

    def restart(self) -> None:
        """Start the solver again beside the window; it goes on where it stopped."""
        if self._restarting is not None:
            return
        self._failure, self._frame = "", None
        self._restart_stage = ("starting again", 0.0)
        self._restarting = threading.Thread(target=self._restart, name="restart", daemon=True)
        self._restarting.start()

    def _restart(self) -> None:
        try:
            self._service.restart(progress=self._note_stage)
        except TwinError as error:
            self._failure = str(error)

    def _note_stage(self, stage: str, fraction: float) -> None:
        self._restart_stage = (stage, fraction)

    def close(self) -> None:
        """End the solver's process."""
        self._service.close()
