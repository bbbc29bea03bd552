"""From a scan to a case: read, label, mesh, make the surfaces to show, write the folder.

Two kinds of structures are told apart. Those wide enough for tetrahedra of the chosen edge become regions of the
mechanical mesh. Vessel trees that run inside an organ are thinner than that: they are *carried*. Their voxels
belong to the organ for the mechanics, and their surface is shown and moves with the tissue that it runs through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.matching import Resampling
from anatomy.meshing import mesh_labels
from anatomy.progress import Progress, silent
from anatomy.scan import Scan
from anatomy.segmentation.segmenter import Protocols, Segmenter, named
from anatomy.segments import OverlapError
from anatomy.structures import find
from anatomy.surfaces import Surface, show_surface
from anatomy.vessels import liver_vessels
from twin.case import Case, check_free
from twin.operating import served
from twin.stages import Stages

#: What is segmented and built where nothing else is asked for.
LIVER_CASE = ("liver", "liver_tumour", "portal_vein", "hepatic_vein")

#: Vessel trees inside an organ, and the organ whose tissue carries them.
CARRIED_BY = {"portal_vein": "liver", "hepatic_vein": "liver", "liver_vessels": "liver"}

#: What lies in an organ is shown inside the organ's surface, which is that of the whole: no cavity hides it.
SHOWN_WITHIN = CARRIED_BY | {"liver_tumour": "liver"}

#: Triangles of an organ's shown surface, and of what lies in it: as many as a machine without a graphics card draws.
ORGAN_TRIANGLES, INNER_TRIANGLES = 40_000, 16_000

#: Voxels of background kept round the structures for meshing and surfaces.
NEAR_VOXELS = 4

#: Tetrahedra of a mesh made without a stated edge: as fine as the interactive tier holds on two cores.
BUDGET_TETS = 20_000


@dataclass(frozen=True)
class Choice:
    """What a person asked for.

    Parameters
    ----------
    structures : sequence of str, optional
        Structures to build; `LIVER_CASE` (those that the label map has) if None.
    edge_mm : float, optional
        Edge of the tetrahedra inside the organs, mm; if None, chosen so that the mesh keeps to `BUDGET_TETS`.
    series : str, optional
        Which of several: a series or stack of a DICOM folder by its number in the refusal's list, a series by its
        UID, or a volume of a four-dimensional file.
    repair : sequence of str
        What may be mended where the slices are no regular volume: names from `anatomy.repairs.REPAIRS`. What was
        done is kept in the case.
    model : str
        Who labels the scan where no label map is given: a name of `anatomy.segmentation.segmenter.named`.
    download_weights : bool
        Whether a model may download its weights.
    title : str
        What a person calls the case.
    replace : bool
        Whether a case of that name may be replaced.
    """

    structures: Sequence[str] | None = None
    edge_mm: float | None = None
    series: str | None = None
    repair: Sequence[str] = ()
    model: str = "protocols"
    download_weights: bool = False
    title: str = ""
    replace: bool = False


@dataclass(frozen=True)
class LabelChoice:
    """How a label map from another tool is read; see `anatomy.LabelMap.read`.

    Parameters
    ----------
    names : str or Path, optional
        JSON file {value: name} or the name of a published class table (`totalsegmentator_v2`).
    priority : sequence of str
        Structures that win a voxel where several overlap, the first first.
    resample : {'nearest', 'linear'}, optional
        How labels on another grid than the scan's are brought over; refused if None.
    any_frame : bool
        Take a DICOM object of another frame of reference all the same.
    """

    names: str | Path | None = None
    priority: Sequence[str] = ()
    resample: Resampling | None = None
    any_frame: bool = False


def build_case(
    scan: str | Path,
    case: str | Path,
    *,
    labels: str | Path | None = None,
    label_choice: LabelChoice | None = None,
    choice: Choice | None = None,
    progress: Progress = silent,
) -> Case:
    """Turn a scan into a case folder.

    Parameters
    ----------
    scan : str or Path
        DICOM folder, zip archive of one or enhanced file, or NIfTI, NRRD or MHA file.
    case : str or Path
        The folder to make.
    labels : str or Path, optional
        A label map from another tool, in the same patient space: NIfTI, NRRD, MHA, DICOM-SEG, RTSTRUCT or a folder
        of masks; segmented here if None.
    label_choice : LabelChoice, optional
        How that label map is read.
    choice : Choice, optional
        Structures, edge, title, and whether an old case may be replaced.
    progress : Progress
        Who watches.

    Returns
    -------
    Case
        The case as written.

    Raises
    ------
    AnatomyError
        If the scan, the label map or a structure cannot be used.
    TwinError
        If the case cannot be written.
    """
    choice = choice or Choice()
    check_free(Path(case), replace=choice.replace)
    model = named(choice.model, download_weights=choice.download_weights)
    wanted = None if choice.structures is None else [find(name).name for name in choice.structures]
    stages = Stages(progress)
    with stages.stage("read", "Reading the scan") as inner:
        image = Scan.read(scan, series=choice.series, progress=inner, repair=choice.repair)
    with stages.stage("label", "Reading the label map" if labels else "Segmenting") as inner:
        if labels is None:
            whole, label_map = _segmented(image, wanted, model, inner)
        else:
            whole, label_map = _given(image, scan, labels, wanted, label_choice or LabelChoice(), inner)
    facts: dict[str, Any] = {
        "source": {
            "scan": Path(scan).name,
            "series": image.facts.series,
            "repairs": [asdict(repair) for repair in image.repairs],
            "labels": Path(labels).name if labels else None,
            "label_reading": None if labels is None else _told(label_choice or LabelChoice()),
            "segmentation": None if labels else model.name,
        },
        "edge_mm": choice.edge_mm,
    }
    return assemble(case, image, whole, label_map, choice=choice, facts=facts, stages=stages)


def assemble(
    path: str | Path,
    scan: Scan,
    whole: LabelMap,
    labels: LabelMap,
    *,
    choice: Choice,
    facts: Mapping[str, Any],
    stages: Stages,
    original: LabelMap | None = None,
    keep: Iterable[Path] = (),
) -> Case:
    """From labels to a case folder: follow vessels, mesh, make the surfaces to show, write.

    Parameters
    ----------
    path : str or Path
        The folder to make.
    scan : Scan
        The image.
    whole, labels : LabelMap
        All that is labelled, by which vessels are followed, and what of it is built.
    choice : Choice
        Edge, title, and whether an old case may be replaced.
    facts : mapping
        Where things come from; confidence, warnings and times are added.
    stages : Stages
        Who is told, and who keeps the time.
    original, keep
        As `Case.create`.

    Raises
    ------
    AnatomyError
        If a structure cannot be meshed.
    TwinError
        If the case cannot be written.
    """
    with stages.stage("vessels", "Following vessels") as inner:
        vessels = liver_vessels(_near(whole), inner)
    near = _near(labels)
    meshed, carried = _split(near)
    with stages.stage("mesh", "Meshing") as inner:
        budget = BUDGET_TETS if choice.edge_mm is None else None
        organ = mesh_labels(meshed, edge_mm=choice.edge_mm, budget_tets=budget, progress=inner)
    with stages.stage("surfaces", "Making the surfaces to show") as inner:
        surfaces = _surfaces(near, inner)
    with stages.stage("write", "Writing the case"):
        case = Case.create(
            path,
            scan=scan,
            labels=labels,
            organ=organ,
            surfaces=surfaces,
            vessels=vessels,
            title=choice.title,
            facts={
                **facts,
                "carried": carried,
                "confidence": {name: float(c) for name, c in labels.confidence.items()},
                "warnings": [*_mended(scan), *labels.warnings, *vessels.warnings],
                "stages_s": stages.seconds,
            },
            original=original,
            keep=keep,
            replace=choice.replace,
        )
    if case.vessels:
        with stages.stage("territories", "Finding what each vessel serves") as inner:
            served(case, progress=inner)
    return case


def _told(how: LabelChoice) -> dict[str, Any]:
    """How a label map was read, for the case; of a file of names only its own name."""
    return asdict(how) | {
        "names": Path(how.names).name if how.names else None,
        "priority": list(how.priority),
    }


def _mended(scan: Scan) -> list[str]:
    """What was done to make a volume of the scan, for everyone who looks at the case."""
    return [f"The scan was mended ({repair})." for repair in scan.repairs]


def _segmented(
    scan: Scan, wanted: list[str] | None, model: Segmenter, progress: Progress
) -> tuple[LabelMap, LabelMap]:
    """What a model finds in the scan: all of it, and the wanted structures only."""
    if isinstance(model, Protocols):
        found = model.segment(scan, wanted or list(LIVER_CASE), progress)
        return found, found
    whole = model.segment(scan, wanted, progress)
    return whole, _chosen(whole, wanted, model.name)


def _given(
    scan: Scan,
    source: str | Path,
    labels: str | Path,
    wanted: list[str] | None,
    how: LabelChoice,
    progress: Progress,
) -> tuple[LabelMap, LabelMap]:
    """A label map from another tool on the scan's grid: all that it holds, and the wanted structures only."""

    def read(only: Sequence[str]) -> LabelMap:
        return LabelMap.read(
            labels,
            how.names,
            scan=scan,
            source=source,
            only=only,
            priority=how.priority,
            resample=how.resample,
            any_frame=how.any_frame,
            progress=progress,
        )

    try:
        whole = read(())
    except OverlapError:
        # What lies round the organ helps to follow its vessels, but a body outline over everything is no reason
        # to refuse.
        whole = read(wanted or LIVER_CASE)
    return whole, _chosen(whole, wanted, str(labels))


def _chosen(whole: LabelMap, wanted: list[str] | None, source: str) -> LabelMap:
    """The wanted structures of a label map; where none was named, those of a liver case that it has."""
    if wanted is None:
        wanted = [name for name in LIVER_CASE if name in whole.structures]
        if not wanted:
            raise AnatomyError(
                f"{source} has none of {', '.join(LIVER_CASE)}; name what to build with --structures, "
                f"it has {', '.join(whole.structures)}."
            )
    return whole.select(wanted)


def _near(labels: LabelMap) -> LabelMap:
    """The part of a label map round its structures: most of a scan is far from the organ, and costs time."""
    occupied = labels.array != 0
    low, size = [], []
    for axis in (2, 1, 0):
        across = tuple(other for other in range(3) if other != axis)
        where = np.flatnonzero(occupied.any(axis=across))
        first, last = max(int(where[0]) - NEAR_VOXELS, 0), int(where[-1]) + NEAR_VOXELS + 1
        low.append(first)
        size.append(min(last, occupied.shape[axis]) - first)
    image = sitk.RegionOfInterest(labels.image, size, low)
    return LabelMap(image, labels.names, labels.confidence, labels.warnings)


def _split(labels: LabelMap) -> tuple[LabelMap, dict[str, str]]:
    """Label map to mesh, and which structures are carried by which organ instead."""
    return _absorb(labels, CARRIED_BY)


def _absorb(labels: LabelMap, into: Mapping[str, str]) -> tuple[LabelMap, dict[str, str]]:
    """Label map in which structures count as the organ they lie in, and which ones did."""
    names = labels.names
    value_of = {name: value for value, name in names.items()}
    absorbed = {name: organ for name, organ in into.items() if name in value_of and organ in value_of}
    if not absorbed:
        return labels, {}
    voxels = sitk.GetArrayFromImage(labels.image)
    for name, organ in absorbed.items():
        voxels[voxels == value_of[name]] = value_of[organ]
    image = sitk.GetImageFromArray(voxels.astype(np.uint8))
    image.CopyInformation(labels.image)
    return LabelMap(image, {value: name for value, name in names.items() if name not in absorbed}), absorbed


def _surfaces(labels: LabelMap, progress: Progress) -> dict[str, Surface]:
    """Surface to show of each structure; that of an organ goes round what lies in it."""
    whole, inside = _absorb(labels, SHOWN_WITHIN)
    surfaces = {}
    for done, name in enumerate(labels.names.values()):
        source, triangles = (labels, INNER_TRIANGLES) if name in inside else (whole, ORGAN_TRIANGLES)
        surfaces[name] = show_surface(source, name, target_triangles=triangles)
        progress(name, (done + 1) / len(labels.names))
    return surfaces
