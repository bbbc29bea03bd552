"""A rehearsal replayed without a window: metrics, pictures, movie and report, written whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from anatomy.progress import Progress, silent
from solver.actions import Act, Grasp
from solver.errors import SolverError
from solver.field import FieldSnapshot, OperativeField
from solver.frame import Frame
from twin.case import Case
from twin.errors import TwinError
from twin.folder import folder_or_nothing
from twin.meter import OperationMeter
from twin.metrics import ReferenceError, measure_reference_error, metrics
from twin.operating import operative_field
from twin.rehearsal import Rehearsal
from twin.replay import Outcome, replay
from twin.stages import Stages
from viewer import report
from viewer.camera import VIEWS
from viewer.errors import ViewerError
from viewer.movie import Movie
from viewer.pictures import MOVIE_SIZE, Studio, slice_figure
from viewer.recording import Recording, Show

# How an act's own numbers read.
_WORDS = {
    "by": "by {}",
    "margin_mm": "{:g} mm around it",
    "node": "node {}",
    "radius_mm": "within {:g} mm",
    "depth_mm": "{:g} mm deep",
    "degrees": "{:g}°",
    "position": "{}",
    "pressure_mmHg": "{:g} mmHg",
    "power_W": "{:g} W",
    "heating_s": "for {:g} s",
    "tension_N": "drawn with {:g} N at most",
}


def replay_case(
    case: Case,
    rehearsal: Rehearsal,
    out: Path,
    *,
    movie: bool = True,
    view: str = "surgeon",
    progress: Progress = silent,
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
    view : str
        Where the eye stands, of `viewer.camera.VIEWS`.
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
    if view not in VIEWS:
        raise ViewerError(f"There is no view '{view}'; there are {', '.join(VIEWS)}.")
    if not len(rehearsal):
        raise TwinError("The rehearsal has no actions; add a grasp and a pull to its script.")
    _check_out(out)
    stages = Stages(progress)
    with stages.stage("field", "Preparing the organ and its vessels") as inner:
        field = operative_field(case, progress=inner)
        recording, meter = Recording(field), OperationMeter(field, case.vessels)
    with stages.stage("replay", "Rehearsing") as inner:
        outcome = replay(rehearsal, field, on_frame=_both(recording, meter.watch), progress=inner)
    if not recording.moments:
        raise TwinError("The rehearsal made no frame; give its actions a duration.")
    with stages.stage("measure", "Measuring the operation"):
        measured = meter.measured(undos=rehearsal.log.undos, acts=len(rehearsal))
        events = [event.to_json() for event in field.events]
    with stages.stage("reference", "Comparing with the converged equilibrium"):
        error, refused = _compared(field, recording.peak)
    with folder_or_nothing(out) as folder:
        with stages.stage("pictures", "Drawing" + (" the movie" if movie else "")) as inner:
            pictures = _draw(case, rehearsal, recording, folder, view, movie, inner)
        found = metrics(case, rehearsal, outcome, error, stages.seconds)
        found["operation"], found["events"] = measured, events
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


def _both(*watching: Callable[[Frame], None]) -> Callable[[Frame], None]:
    """Tell several of every frame."""

    def tell(frame: Frame) -> None:
        for one in watching:
            one(frame)

    return tell


def _compared(field: OperativeField, peak: FieldSnapshot | None) -> tuple[ReferenceError, str]:
    """Distance to the reference tier; where that refuses the state, nothing, and why."""
    try:
        return measure_reference_error(field, peak), ""
    except SolverError as error:
        return ReferenceError(None, None, None), f"Not compared with the converged equilibrium: {error}"


def _check_out(out: Path) -> None:
    if out.exists() and not (out.is_dir() and ((out / "metrics.json").is_file() or not any(out.iterdir()))):
        raise TwinError(f"{out} exists and is not an earlier replay; choose another folder with -o.")


def _draw(
    case: Case,
    rehearsal: Rehearsal,
    recording: Recording,
    folder: Path,
    view: str,
    movie: bool,
    progress: Progress,
) -> list[report.Picture]:
    """Movie, stills before, at the peak and after, and the slices."""
    last = len(recording.moments) - 1
    stills = {0: "before", recording.peak_frame: "peak", last: "after"}
    cut = len(recording.meshes) > 1
    words = {"before": "Before", "peak": "Where the tissue moved most", "after": "At the end"}
    leading = "after" if cut or stills[recording.peak_frame] != "peak" else "peak"
    pictures: list[report.Picture] = []
    film = Movie(folder / "movie.mp4", MOVIE_SIZE) if movie else nullcontext()
    radius = {act.tool: act.radius_mm for act in rehearsal if isinstance(act, Grasp)}
    said = _words_at(rehearsal)
    with Studio(case) as studio, film as reel:
        show = Show(studio.scene, recording, radius)
        show.fit(view)
        for number in range(last + 1) if reel is not None else sorted(stills):
            show.moment(number, said(recording.moments[number].frame.time_s))
            name = stills.get(number)
            if name is not None:
                studio.still(folder / f"{name}.png")
                pictures.append(report.Picture(folder / f"{name}.png", words[name], leading=name == leading))
            if reel is not None:
                reel.add(studio.frame())
            progress("drawing", (number + 1) / (last + 1))
        for name in ("before", "peak"):
            if not (folder / f"{name}.png").exists():
                shutil.copyfile(folder / "after.png", folder / f"{name}.png")
        show.moment(recording.peak_frame)
        displacement = recording.moments[recording.peak_frame].frame.displacement
        slice_figure(case, folder / "slices.png", displacement, studio.scene)
    return pictures


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
    parts = [str(data[key]).replace("_", " ") for key in ("structure", "organ", "system") if key in data]
    parts += [form.format(data[key]) for key, form in _WORDS.items() if data.get(key)]
    if "attachments" in data:
        parts.append(", ".join(data["attachments"]))
    for key, word in (("point_mm", "at"), ("target_mm", "to"), ("tip_mm", "at")):
        if key in data:
            parts.append(word + " ({:.0f}, {:.0f}, {:.0f}) mm".format(*data[key]))
    if "by_mm" in data:
        parts.append(f"{np.linalg.norm(data['by_mm']):.0f} mm")
    return ", ".join(parts)
