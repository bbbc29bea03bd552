"""Correction by a person: seeds, brush strokes and drawn outlines that refine one structure of a label map.

Contract: a correction is data, a frozen dataclass in LPS millimetres with a JSON form. `correct` applies corrections in
order and gives a new label map; the same corrections on the same scan and label map give the same voxels, so that a
record of them is enough to make a result again. A correction changes its own structure only: it adds voxels from the
background and gives voxels back to it. Voxels of other structures stay theirs unless the correction says `from_others`,
and what was taken, or was wanted and left, is said in the label map's warnings. Work is done on a crop around the
correction, so that a person need not wait.

Seeds re-decide a ball around them by likeness and a short border (`corrections.seeds`), a brush edits exactly what it
touches, and outlines decide anew what they show to be wrong (`corrections.outlines`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from anatomy import structures
from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.progress import Progress, silent
from anatomy.scan import Scan
from anatomy.segmentation.corrections import outlines, seeds
from anatomy.segmentation.corrections.crop import Crop

__all__ = ["Brush", "Change", "Correction", "Outlines", "Seed", "apply", "correct", "from_json", "to_json"]

Point = tuple[float, float, float]
_MOST_POINTS = 100_000


@dataclass(frozen=True)
class Correction:
    """What every correction carries.

    Parameters
    ----------
    structure : str
        The structure that is corrected; a name or alias of the vocabulary.
    from_others : bool
        Whether voxels of other structures may become this one's.
    """

    kind: ClassVar[str] = ""
    structure: str
    from_others: bool = False

    def __post_init__(self) -> None:
        if type(self) is Correction:
            raise AnatomyError("a correction is a Seed, a Brush or Outlines")
        object.__setattr__(self, "structure", structures.canonical(self.structure))


@dataclass(frozen=True)
class Seed(Correction):
    """Points that belong to the structure, or do not; what lies around them is decided anew.

    Parameters
    ----------
    points_mm : sequence of (x, y, z)
        LPS mm; at least one.
    inside : bool
        Whether they belong to the structure.
    reach_mm : float
        How far from the points the seed may change anything, mm, 2 to 100.
    """

    kind: ClassVar[str] = "seed"
    points_mm: tuple[Point, ...] = ()
    inside: bool = True
    reach_mm: float = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "points_mm", _points(self.points_mm, 1, "a seed"))
        _check_length(self.reach_mm, 2.0, 100.0, "the reach of a seed")


@dataclass(frozen=True)
class Brush(Correction):
    """A stroke of a ball that adds to the structure or removes from it, exactly what it touches.

    Parameters
    ----------
    path_mm : sequence of (x, y, z)
        Where the ball's centre went, LPS mm; one point for a dab.
    radius_mm : float
        Radius of the ball, mm, 0.5 to 100.
    adds : bool
        Whether the stroke adds.
    """

    kind: ClassVar[str] = "brush"
    path_mm: tuple[Point, ...] = ()
    radius_mm: float = 5.0
    adds: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "path_mm", _points(self.path_mm, 1, "a brush stroke"))
        _check_length(self.radius_mm, 0.5, 100.0, "the radius of a brush")


@dataclass(frozen=True)
class Outlines(Correction):
    """Closed outlines drawn on slices: the structure's whole section there, from which the slices beside follow.

    Parameters
    ----------
    outlines_mm : sequence of sequences of (x, y, z)
        Corners of each closed outline, LPS mm, each in one plane along the scan's voxel axes; three on orthogonal
        slices serve best. In one plane, an outline inside another is a hole. A structure seen in several pieces in
        a slice has one outline a piece.
    reach_mm : float
        How far from a wrong pixel anything may change, mm, 2 to 200.
    """

    kind: ClassVar[str] = "outlines"
    outlines_mm: tuple[tuple[Point, ...], ...] = ()
    reach_mm: float = 40.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.outlines_mm:
            raise AnatomyError("a correction by outlines has none: draw at least one")
        drawn = tuple(_points(outline, 3, "an outline") for outline in self.outlines_mm)
        object.__setattr__(self, "outlines_mm", drawn)
        _check_length(self.reach_mm, 2.0, 200.0, "the reach of outlines")


_KINDS: dict[str, type[Correction]] = {kind.kind: kind for kind in (Seed, Brush, Outlines)}


@dataclass(frozen=True)
class Change:
    """What one correction did.

    Parameters
    ----------
    structure : str
        Whom it corrected.
    added_ml, removed_ml : float
        Volume that came to the structure and that left it, ml.
    taken_ml : dict of str to float
        What of the added volume was taken from other structures, ml.
    left_ml : dict of str to float
        What the correction wanted but left to other structures, ml.
    """

    structure: str
    added_ml: float
    removed_ml: float
    taken_ml: dict[str, float]
    left_ml: dict[str, float]

    def sentences(self) -> list[str]:
        """What a person must be told: what others lost or kept, or that nothing changed."""
        if not (self.added_ml or self.removed_ml or self.left_ml):
            return [
                f"A correction of {self.structure} changed nothing: is its place right? LPS mm grow to the patient's "
                "left, back and head."
            ]
        said = [
            f"A correction of {self.structure} took {ml:.1f} ml from {name}."
            for name, ml in self.taken_ml.items()
        ]
        return said + [
            f"A correction of {self.structure} reaches {ml:.1f} ml into {name}, which kept them; allow it with "
            '"from_others": true in the file of corrections.'
            for name, ml in self.left_ml.items()
        ]


def correct(
    scan: Scan, labels: LabelMap, corrections: Iterable[Correction], progress: Progress = silent
) -> LabelMap:
    """Apply corrections in order.

    Parameters
    ----------
    scan : Scan
        The image that was labelled.
    labels : LabelMap
        The segmentation to correct, on the scan's grid.
    corrections : iterable of Correction
        What a person did.
    progress : Progress
        Told after each.

    Returns
    -------
    LabelMap
        Corrected; confidence of a corrected structure is dropped, for it is a person's now. Warnings say what was
        taken from other structures.

    Raises
    ------
    AnatomyError
        If the grids differ, a structure is not in the label map, a point lies outside the scan, an outline lies on
        no slice, or a correction would leave its structure without a voxel.
    """
    todo = list(corrections)
    for number, correction in enumerate(todo):
        labels, _ = apply(scan, labels, correction)
        progress("Correcting", (number + 1) / len(todo))
    return labels


def apply(scan: Scan, labels: LabelMap, correction: Correction) -> tuple[LabelMap, Change]:
    """Apply one correction; gives the new label map and what changed. Errors as `correct`."""
    labels.check_grid(scan)
    value = labels.value(correction.structure)
    crop, wanted = _decide(scan, labels, correction)
    part = crop.of(labels.array).copy()
    change = _write(part, wanted, value, labels, correction)
    kept = change.removed_ml == 0.0 or (part == value).any()
    if not kept and not _elsewhere(labels.array, crop, value):
        raise AnatomyError(
            f"this {correction.kind} would remove all of '{correction.structure}'; leave the structure out instead"
        )
    corrected = labels.with_box(crop.slices, part)
    corrected.confidence.pop(labels.names[value], None)
    corrected.warnings = list(dict.fromkeys([*labels.warnings, *change.sentences()]))
    return corrected, change


def _elsewhere(array: NDArray[Any], crop: Crop, value: int) -> bool:
    """Whether a value occurs outside the box."""
    return bool(np.count_nonzero(array == value) > np.count_nonzero(crop.of(array) == value))


def _decide(scan: Scan, labels: LabelMap, correction: Correction) -> tuple[Crop, NDArray[np.bool_]]:
    """The crop that a correction works on, and where in it the structure should be."""
    image = scan.image
    if isinstance(correction, Seed):
        crop = Crop.around(image, correction.points_mm, 1.15 * correction.reach_mm, "a seed")
        mask = crop.of(labels.array) == labels.value(correction.structure)
        values = crop.of(scan.array)
        return crop, seeds.decide(
            crop, values, mask, correction.points_mm, correction.inside, correction.reach_mm
        )
    if isinstance(correction, Brush):
        crop = Crop.around(image, correction.path_mm, correction.radius_mm, "a brush stroke")
        mask = crop.of(labels.array) == labels.value(correction.structure)
        touched = crop.stroke(correction.path_mm, correction.radius_mm)
        return crop, (mask | touched) if correction.adds else (mask & ~touched)
    assert isinstance(correction, Outlines)
    return outlines.decide(scan, labels, correction.structure, correction.outlines_mm, correction.reach_mm)


def _write(
    array: NDArray[Any], wanted: NDArray[np.bool_], value: int, labels: LabelMap, correction: Correction
) -> Change:
    """Change the crop in place, within the correction's rights."""
    voxel_ml = float(np.prod(labels.spacing_mm)) / 1000.0
    mask = array == value
    others = (array > 0) & ~mask
    claimed = wanted & others
    counts = np.bincount(array[claimed], minlength=1) * voxel_ml
    shares = {labels.names[int(v)]: round(float(counts[v]), 3) for v in np.flatnonzero(counts)}
    added = wanted & ~mask & (~others | correction.from_others)
    removed = mask & ~wanted
    array[added], array[removed] = value, 0
    nested = _nested(array, value, labels) if not correction.from_others else set()
    return Change(
        correction.structure,
        float(np.count_nonzero(added)) * voxel_ml,
        float(np.count_nonzero(removed)) * voxel_ml,
        shares if correction.from_others else {},
        {} if correction.from_others else {n: ml for n, ml in shares.items() if n not in nested},
    )


def _nested(array: NDArray[Any], value: int, labels: LabelMap) -> set[str]:
    """Structures that lie inside this one (a tumour, a vessel), which an outline of the whole need not mention."""
    return {labels.names[v] for v in outlines.within(array, value)}


def to_json(corrections: Sequence[Correction]) -> list[dict[str, Any]]:
    """Corrections as JSON-ready dictionaries, each with its `kind`."""
    return [{"kind": correction.kind, **asdict(correction)} for correction in corrections]


def from_json(content: Any) -> list[Correction]:
    """Corrections from what `to_json` gave, or from its JSON text.

    Raises
    ------
    AnatomyError
        If an entry is no correction; the message names the entry and what is wrong with it.
    """
    if isinstance(content, str):
        try:
            content = json.loads(content)
        except ValueError as error:
            raise AnatomyError(f"the corrections are not JSON ({error})") from error
    if not isinstance(content, Sequence):
        raise AnatomyError('corrections are a list such as [{"kind": "seed", "structure": "liver", …}]')
    return [_one(entry, number) for number, entry in enumerate(content, start=1)]


def _one(entry: Any, number: int) -> Correction:
    kind = _KINDS.get(str(entry.get("kind"))) if isinstance(entry, Mapping) else None
    if kind is None:
        raise AnatomyError(f"correction {number} has no kind: give one of {', '.join(_KINDS)}")
    given = {key: value for key, value in entry.items() if key != "kind"}
    known = {field.name for field in fields(kind)}
    wrong = sorted(set(given) - known)
    if wrong or "structure" not in given:
        what = f"knows no '{wrong[0]}'" if wrong else "names no structure"
        raise AnatomyError(f"correction {number} ({kind.kind}) {what}: it has {', '.join(sorted(known))}")
    try:
        return kind(**given)
    except (AnatomyError, TypeError, ValueError, AttributeError) as error:
        raise AnatomyError(f"correction {number} ({kind.kind}): {error}") from error


def _points(points: Any, least: int, what: str) -> tuple[Point, ...]:
    try:
        array = np.asarray(points, dtype=float)
    except (TypeError, ValueError) as error:
        raise AnatomyError(f"{what} needs points (x, y, z) in mm") from error
    if array.ndim != 2 or array.shape[1] != 3 or not np.isfinite(array).all():
        raise AnatomyError(f"{what} needs points (x, y, z) in mm")
    if not least <= len(array) <= _MOST_POINTS:
        raise AnatomyError(f"{what} has {len(array)} points; it needs {least} or more (to {_MOST_POINTS})")
    return tuple((float(x), float(y), float(z)) for x, y, z in array)


def _check_length(value: Any, low: float, high: float, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise AnatomyError(f"{what} is {value} mm; give {low:g} to {high:g} mm")
