"""Reduction: the reduced models of a case, made once and kept in its folder.

Each grip is one file `reduction/NAME.npz` beside what the case is made of, written whole or not at all, so that a stop
loses the grip at hand and no other. A file says which content of the case (`Case.sha256`) and which body (mesh, tissue
constants, attachments) it was made of; where either has changed since, it is refused and has to be made anew.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anatomy.files import disk_sentence, whole_or_nothing
from anatomy.progress import Progress, silent
from solver.errors import SolverError
from solver.reduced.grip import RADIUS_MM, REACH_MM, Grip, grip_of, spread_places
from twin.errors import TwinError

if TYPE_CHECKING:
    from solver.body import Body
    from solver.interactive import Interactive
    from solver.reduced.model import ReducedModel
    from twin.case import Case

FOLDER = "reduction"
PLACES = 8
# Attachments softer than this do not keep a grasper away: fat, through which it reaches the organ.
FIRM_KPA_MM = 0.5


@dataclass(frozen=True, eq=False)
class Plan:
    """Which grips of a case to reduce.

    Parameters
    ----------
    points_mm : sequence of ndarray, shape (m, 3)
        Of each grip, where its m tools take hold, LPS mm; none: `places` single places spread over the free surface.
    places : int
    radius_mm, reach_mm : float
    seed : int
    """

    points_mm: Sequence[np.ndarray] = ()
    places: int = PLACES
    radius_mm: float = RADIUS_MM
    reach_mm: float = REACH_MM
    seed: int = 1

    def grips(self, body: Body) -> list[Grip]:
        """The grips on a body."""
        points = list(self.points_mm)
        if not points:
            firm = [a.facets.ravel() for a in body.attachments if a.normal_kPa_mm >= FIRM_KPA_MM]
            held = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *firm]))
            points = [place[None] for place in spread_places(body.organ, held, self.places)]
        return [grip_of(body.organ, each, self.radius_mm, self.reach_mm) for each in points]


@dataclass(frozen=True, eq=False)
class Done:
    """What came of one grip.

    Parameters
    ----------
    grip : Grip
    model : ReducedModel or None
        None where it could not be made; `refusal` says why.
    kept : bool
        Whether it was there already.
    refusal : str
    """

    grip: Grip
    model: ReducedModel | None
    kept: bool = False
    refusal: str = ""


def reduce_case(
    case: Case, plan: Plan, again: bool = False, progress: Progress = silent, live: Interactive | None = None
) -> Iterator[Done]:
    """Make and store the reduced models of a plan, one after the other.

    Parameters
    ----------
    case : Case
    plan : Plan
    again : bool
        Whether models that are there, and still fit the case, are made anew.
    progress : Progress
    live : Interactive, optional
        The case's tissue, where there is one already.

    Yields
    ------
    Done
        After each grip; what was yielded is stored.

    Raises
    ------
    SolverError
        If the tissue cannot be made live, or a place is not on the organ.
    TwinError
        If the folder cannot be written.
    """
    from solver.body import Body
    from solver.interactive import Interactive
    from solver.reduced.model import fingerprint
    from solver.reduced.training import reduce_grip

    if live is None:
        live = Interactive(Body(case.organ), progress=progress)
    made_of = fingerprint(live.body)
    grips = plan.grips(live.body)
    for file in (case.path / FOLDER).glob("*.npz"):
        if _usable(file, case, made_of) is None:
            # Of no use any more, and `stored` would refuse it for ever.
            file.unlink()
    for number, grip in enumerate(grips, 1):
        file = case.path / FOLDER / f"{_name(grip, plan.seed)}.npz"
        kept = None if again else _usable(file, case, made_of)
        if kept is not None:
            yield Done(grip, kept, kept=True)
            continue
        try:
            told = _named(progress, f"reducing place {number} of {len(grips)}")
            model = reduce_grip(live, grip, plan.seed, progress=told)
        except SolverError as error:
            yield Done(grip, None, refusal=str(error))
            continue
        _write(file, case, model)
        yield Done(grip, model)


def stored(case: Case, body: Body | None = None) -> list[ReducedModel]:
    """The reduced models of a case.

    Parameters
    ----------
    case : Case
    body : Body, optional
        The case's body as it is now; its mesh, tissue constants and attachments are compared too.

    Raises
    ------
    TwinError
        If a file is damaged, or was made of what the case or its tissues are no longer.
    """
    from solver.reduced.model import fingerprint

    made_of = None if body is None else fingerprint(body)
    found = []
    for file in sorted((case.path / FOLDER).glob("*.npz")):
        sha, model = _read(file)
        if sha != case.sha256:
            raise TwinError(
                f"{file} was made before the case changed; run `organtwin reduce {case.path}` to make it anew."
            )
        if made_of is not None and model.fingerprint != made_of:
            raise TwinError(
                f"{file} was made with other tissue constants or attachments; run `organtwin reduce {case.path}` to "
                "make it anew."
            )
        found.append(model)
    return found


def remove(case: Case) -> int:
    """Delete every reduced model of a case; returns how many there were."""
    files = list((case.path / FOLDER).glob("*.npz"))
    for file in files:
        file.unlink()
    return len(files)


def _named(progress: Progress, name: str) -> Progress:
    """Progress under one name, whatever the stage is called."""
    return lambda stage, fraction: progress(name, fraction)


def _name(grip: Grip, seed: int) -> str:
    """Short name of a grip: the same places, radius, reach and seed give the same."""
    key = repr((np.round(grip.points_mm, 3).tolist(), grip.radius_mm, grip.reach_mm, seed))
    return f"grip-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def _usable(file: Path, case: Case, made_of: str) -> ReducedModel | None:
    """The model in a file, where there is one that still fits."""
    if not file.is_file():
        return None
    try:
        sha, model = _read(file)
    except TwinError:
        return None
    return model if sha == case.sha256 and model.fingerprint == made_of else None


def _write(file: Path, case: Case, model: ReducedModel) -> None:
    try:
        file.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise TwinError(disk_sentence(error, file)) from error
    with whole_or_nothing(file, TwinError) as temporary, temporary.open("wb") as stream:
        arrays: dict[str, Any] = {"case_sha256": np.asarray(case.sha256), **model.to_arrays()}
        np.savez(stream, **arrays)


def _read(file: Path) -> tuple[str, ReducedModel]:
    from solver.reduced.model import ReducedModel

    try:
        with np.load(file, allow_pickle=False) as arrays:
            content = {name: arrays[name] for name in arrays.files}
        return str(content.pop("case_sha256")), ReducedModel.from_arrays(content)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, SolverError) as error:
        raise TwinError(
            f"{file} cannot be read ({error}); delete it and run `organtwin reduce` again."
        ) from error
