"""Structures as a file gives them, each with voxels of its own, brought into one label image.

DICOM-SEG, RTSTRUCT, layered .seg.nrrd and a folder of masks keep a mask for every structure, and masks may
overlap; a label image gives every voxel one structure. Overlap is therefore refused unless a person says which
structure wins. A segment's name is the one written for people where the vocabulary knows it, else the structure its
code stands for, else the name as written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from anatomy import structures
from anatomy.errors import AnatomyError
from anatomy.label_names import Names, names_given
from anatomy.progress import Progress, silent
from anatomy.structures import Coded

_PAIRS_SHOWN = 3


class OverlapError(AnatomyError):
    """Structures that overlap, with nobody having said which wins."""


@dataclass(frozen=True)
class Reading:
    """How a person wants a label map read.

    Parameters
    ----------
    names : mapping, str or Path, optional
        Structure of each value or segment number, see `anatomy.label_names.names_given`.
    only : sequence of str
        Structures to keep; all if empty.
    priority : sequence of str
        Which structure gets a voxel that several claim: the first named here; the named before the others.
    threshold : float
        Share from which a voxel of a fractional segment counts, 0 to 1.
    grid : SimpleITK.Image, optional
        The scan's grid, LPS mm.
    frames : frozenset of str, optional
        Frames of reference (UIDs) of the scan; None where they are unknown or do not matter.
    progress : Progress
        Told about structures read.
    """

    names: Names | None = None
    only: Sequence[str] = ()
    priority: Sequence[str] = ()
    threshold: float = 0.5
    grid: sitk.Image | None = None
    frames: frozenset[str] | None = None
    progress: Progress = silent

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold <= 1.0:
            raise AnatomyError(
                f"the threshold of fractional segments lies in (0, 1], not at {self.threshold:g}"
            )


@dataclass(frozen=True)
class Segment:
    """One structure of a file.

    Parameters
    ----------
    number : int
        Its number in the file.
    name : str
        Its name as written for people.
    mask : callable
        Makes its voxels: bool, shape (z, y, x) of the file's grid.
    coded : Coded, optional
        What its codes say it is.
    """

    number: int
    name: str
    mask: Callable[[], NDArray[np.bool_]]
    coded: Coded | None = None


@dataclass
class Found:
    """A label image as read: whole numbers on its own grid, LPS mm, their names, and what to tell a person."""

    image: sitk.Image
    names: dict[int, str]
    warnings: list[str] = field(default_factory=list)


def flatten(segments: Sequence[Segment], grid: sitk.Image, reading: Reading, where: str) -> Found:
    """One label image of several segments.

    Parameters
    ----------
    segments : sequence of Segment
        What the file holds; their numbers become the label values.
    grid : SimpleITK.Image
        Image whose size, origin, spacing and direction (LPS mm) are those of the masks.
    reading : Reading
        Names, choice and priority.
    where : str
        The file, for messages.

    Raises
    ------
    AnatomyError
        If a chosen or preferred structure is not there.
    OverlapError
        If segments of equal priority overlap.
    """
    warnings: list[str] = []
    names = _chosen(_named(segments, reading, warnings), reading.only, where)
    rank = _ranks(names, reading.priority, where)
    by_number = {segment.number: segment for segment in segments}
    values = np.zeros(grid.GetSize()[::-1], dtype=np.uint16)
    shared: Counter[tuple[int, int]] = Counter()
    for done, number in enumerate(sorted(names, key=lambda n: rank[n])):
        reading.progress(f"Reading the label map: {names[number]}", done / len(names))
        mask = by_number[number].mask()
        # Most structures lie on few slices: the others need no look.
        filled = np.flatnonzero(mask.any(axis=(1, 2)))
        if filled.size == 0:
            continue
        slab = slice(int(filled[0]), int(filled[-1]) + 1)
        mask, here = mask[slab], values[slab]
        taken = np.bincount(here[mask])
        for other in np.flatnonzero(taken[1:]) + 1:
            if rank[int(other)] == rank[number]:
                shared[int(other), number] += int(taken[other])
        here[mask & (here == 0)] = number
    if shared:
        raise OverlapError(_overlap(shared, names, where))
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(grid)
    return Found(image, names, warnings)


def _named(segments: Sequence[Segment], reading: Reading, warnings: list[str]) -> dict[int, str]:
    """Structure of each segment number: what the person gave, else what the file says."""
    if reading.names is not None:
        given = names_given(reading.names)
        warnings.extend(structures.assumed(given.values()))
        numbers = {segment.number for segment in segments}
        return {number: structures.canonical(name) for number, name in given.items() if number in numbers}
    meant = {s.number: structures.of_code(s.coded) if s.coded else None for s in segments}
    warnings.extend(structures.assumed(segment.name for segment in segments))
    times = Counter(structure.name for structure in meant.values() if structure)
    names = {}
    for segment in segments:
        written, coded = structures.lookup(segment.name), meant[segment.number]
        if written and coded and written.snomed != coded.snomed:
            warnings.append(
                f"segment {segment.number} is called '{segment.name}' but coded as {coded.title}: "
                "the name was taken"
            )
        if written is None and coded and times[coded.name] == 1:
            written = coded
        names[segment.number] = written.name if written else segment.name.strip()
    return names


def _chosen(names: dict[int, str], only: Sequence[str], where: str) -> dict[int, str]:
    if not names:
        raise AnatomyError(f"{where} has none of the segments that were named: give names by segment number")
    if not only:
        return names
    wanted = {structures.canonical(name) for name in only}
    kept = {number: name for number, name in names.items() if name in wanted}
    if not kept:
        raise AnatomyError(
            f"{where} has none of {', '.join(only)}; it has {_listed(names.values())}: ask for those (--structures)"
        )
    return kept


def _ranks(names: dict[int, str], priority: Sequence[str], where: str) -> dict[int, int]:
    order = {structures.canonical(name): place for place, name in enumerate(priority)}
    unknown = sorted(set(order) - set(names.values()))
    if unknown:
        hint = structures.near(unknown[0], list(names.values()))
        raise AnatomyError(
            f"{where} has no '{unknown[0]}' to give priority to{hint or '; it has ' + _listed(names.values())}"
        )
    return {number: order.get(name, len(order)) for number, name in names.items()}


def _overlap(shared: Counter[tuple[int, int]], names: dict[int, str], where: str) -> str:
    pairs = [
        f"'{names[a]}' and '{names[b]}' share {count:,} voxel{'s' if count > 1 else ''}"
        for (a, b), count in shared.most_common(_PAIRS_SHOWN)
    ]
    more = f" and {len(shared) - _PAIRS_SHOWN} more pairs" if len(shared) > _PAIRS_SHOWN else ""
    return (
        f"{where} has structures that overlap ({'; '.join(pairs)}{more}), and a label map gives every voxel one "
        "structure: say which wins with priority (--label-priority; the first named gets the voxel), or keep some "
        "with only (--structures)"
    )


def _listed(names: Iterable[str]) -> str:
    held = list(names)
    return f"{', '.join(held[:12])}{' …' if len(held) > 12 else ''}"
