"""A rehearsal replayed without a window: metrics, pictures, movie and report, written whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomy.progress import Progress, silent
from solver.actions import Act, Grasp
from solver.body import Body
from solver.errors import SolverError
from solver.field import OperativeField
from solver.frame import Frame
from solver.interactive import Interactive
from solver.snapshot import Snapshot
from twin.case import Case
from twin.errors import TwinError
from twin.folder import folder_or_nothing
from twin.metrics import ReferenceError, measure_reference_error, metrics
from twin.rehearsal import Rehearsal
from twin.replay import Outcome, replay
from twin.stages import Stages
from viewer import report
from viewer.movie import Movie
from viewer.pictures import MOVIE_SIZE, Studio, slice_figure


@dataclass(eq=False)
class Recording:
    """What is kept of every frame of a replay, and the state at the largest displacement."""

    live: Interactive
    frames: list[Frame] = field(default_factory=list)
    tools: list[dict[str, NDArray[np.float64]]] = field(default_factory=list)
    peak: Snapshot | None = None
    peak_frame: int = 0
    _farthest: float = -1.0

    def __call__(self, frame: Frame) -> None:
        """Keep a frame."""
        self.frames.append(frame)
        self.tools.append({name: position.copy() for name, position in self.live.tools.items()})
        if frame.forces_N.keys() > self.live.tools.keys():
            return  # a tool is letting go: its force is no held displacement that a reference solve could take
        farthest = float(np.einsum("ij,ij->i", frame.displacement, frame.displacement).max())
        if farthest > self._farthest:
            self._farthest, self.peak_frame = farthest, len(self.frames) - 1
            self.peak = self.live.snapshot()


def replay_case(
    case: Case, rehearsal: Rehearsal, out: Path, *, movie: bool = True, progress: Progress = silent
) -> dict[str, Any]:
    """Replay a rehearsal on a case and write all that comes of it.

    Parameters
    ----------
    case : Case
    rehearsal : Rehearsal
    out : Path
        Folder for metrics.json, rehearsal.json, before.png, peak.png, after.png, slices.png, movie.mp4 and
        report.html; replaced if it is an earlier replay.
    movie : bool
        Whether to write the movie.
    progress : Progress

    Returns
    -------
    dict
        What metrics.json holds; see `twin.metrics`.

    Raises
    ------
    TwinError
        If the rehearsal is empty or cannot be carried out, or `out` holds something else.
    SolverError
        If the organ cannot be solved for.
    ViewerError
        If this machine cannot draw.
    """
    if not len(rehearsal):
        raise TwinError("The rehearsal has no actions; add a grasp and a pull to its script.")
    _check_out(out)
    stages = Stages(progress)
    with stages.stage("body", "Hanging the organ by its ligaments"):
        body = Body(case.organ)
    with stages.stage("interactive", "Bringing it to rest under gravity") as inner:
        recording = Recording(Interactive(body, progress=inner))
    with stages.stage("replay", "Rehearsing") as inner:
        outcome = replay(rehearsal, OperativeField(recording.live), on_frame=recording, progress=inner)
    if recording.peak is None:
        raise TwinError("The rehearsal made no frame; give its actions a duration.")
    with stages.stage("reference", "Comparing with the converged equilibrium"):
        error, refused = _compared(recording.live, recording.peak)
    with folder_or_nothing(out) as folder:
        with stages.stage("pictures", "Drawing" + (" the movie" if movie else "")) as inner:
            pictures = _draw(case, rehearsal, recording, folder, movie, inner)
        found = metrics(case, rehearsal, outcome, error, stages.seconds)
        rehearsal.write(folder / "rehearsal.json")
        text = json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        (folder / "metrics.json").write_text(text, encoding="utf-8")
        slices = report.Picture(
            folder / "slices.png", "The scan where the tissue moves most, as scanned and as pulled"
        )
        course = _course(rehearsal, outcome)
        report.write_report(
            folder / "report.html",
            case,
            found,
            pictures,
            course,
            slices=slices,
            warnings=[refused] if refused else [],
        )
    return found


def _compared(live: Interactive, peak: Snapshot) -> tuple[ReferenceError, str]:
    """Distance to the reference tier; where that refuses the state, nothing, and why."""
    try:
        return measure_reference_error(live, peak), ""
    except SolverError as error:
        return ReferenceError(None, None, None), f"Not compared with the converged equilibrium: {error}"


def _check_out(out: Path) -> None:
    if out.exists() and not (out.is_dir() and ((out / "metrics.json").is_file() or not any(out.iterdir()))):
        raise TwinError(f"{out} exists and is not an earlier replay; choose another folder with -o.")


def _draw(
    case: Case, rehearsal: Rehearsal, recording: Recording, folder: Path, movie: bool, progress: Progress
) -> list[report.Picture]:
    """Movie, stills before, at the peak and after, and the slices."""
    stills = {0: "before", recording.peak_frame: "peak", len(recording.frames) - 1: "after"}
    words = {"before": "Before", "peak": "Farthest pulled", "after": "At the end"}
    pictures: list[report.Picture] = []
    film = Movie(folder / "movie.mp4", MOVIE_SIZE) if movie else nullcontext()
    with Studio(case) as studio, film as reel:
        show = _Show(studio, rehearsal, recording)
        studio.still(folder / "before.png")
        pictures.append(report.Picture(folder / "before.png", words["before"]))
        for number in range(len(recording.frames)):
            show.frame(number)
            name = stills.get(number)
            if name in ("peak", "after"):
                studio.still(folder / f"{name}.png")
                pictures.append(report.Picture(folder / f"{name}.png", words[name], leading=name == "peak"))
            if reel is not None:
                reel.add(studio.frame())
            progress("drawing", (number + 1) / len(recording.frames))
        if not (folder / "peak.png").exists():
            shutil.copyfile(folder / "after.png", folder / "peak.png")
        slice_figure(
            case, folder / "slices.png", recording.frames[recording.peak_frame].displacement, studio.scene
        )
    return pictures


class _Show:
    """Puts recorded frames on the stage: tissue, tools and the words of the act."""

    def __init__(self, studio: Studio, rehearsal: Rehearsal, recording: Recording) -> None:
        self._studio, self._recording = studio, recording
        self._radius = {act.tool: act.radius_mm for act in rehearsal if isinstance(act, Grasp)}
        self._words = _words_at(rehearsal)
        self._held: set[str] = set()

    def frame(self, number: int) -> None:
        frame, tools = self._recording.frames[number], self._recording.tools[number]
        scene = self._studio.scene
        for tool in self._held - tools.keys():
            scene.release(tool)
        for tool in tools.keys() - self._held:
            scene.grasp(tool, tools[tool], self._radius[tool])
        self._held = set(tools)
        scene.update(frame)
        scene.annotate(self._words(frame.time_s))


def _words_at(rehearsal: Rehearsal) -> Callable[[float], str]:
    """The act going on at a time of the rehearsal, in words."""
    acts = _timed(rehearsal)

    def words(time_s: float) -> str:
        for act in acts:
            if act.start_s < time_s <= act.end_s + 1e-9:
                return f"{act.name} {act.detail}".strip()
        return ""

    return words


def _course(rehearsal: Rehearsal, outcome: Outcome) -> report.Course:
    forces = [np.linalg.norm(force, axis=1) for force in outcome.forces_N.values()]
    force = np.max(forces, axis=0) if forces else np.zeros(outcome.frames)
    return report.Course(outcome.times_s, force, outcome.displacement_mm, _timed(rehearsal))


def _timed(rehearsal: Rehearsal) -> list[report.Act]:
    """The acts with their times and details, as a person reads them."""
    acts, clock = [], 0.0
    for act in rehearsal:
        end = clock + act.length_s
        acts.append(report.Act(clock, end, act.act.capitalize(), _detail(act)))
        clock = end
    return acts


def _detail(act: Act) -> str:
    data = act.to_json()
    parts = []
    if "structure" in data:
        parts.append(str(data["structure"]).replace("_", " "))
    if "point_mm" in data:
        parts.append("at ({:.0f}, {:.0f}, {:.0f}) mm".format(*data["point_mm"]))
    if "by_mm" in data:
        parts.append(f"{np.linalg.norm(data['by_mm']):.0f} mm")
    if "radius_mm" in data:
        parts.append(f"within {data['radius_mm']:g} mm")
    return ", ".join(parts)
