"""Label maps out as DICOM-SEG, by highdicom: coded segments on the slices of the series they were drawn on.

Nothing of the patient is made up: patient and study are those of the source series, copied as the standard demands
of an object of the same study (DICOM PS3.3 A.51, C.7.1.1, C.7.2.1), and the frames refer to the slices they lie on.
Of the equipment only what is known is said: the software that wrote it. A segment's type is its SNOMED CT
code; where no published code list has one, the type is the general 'Anatomical Structure' and the name stands in the
label alone, for a private code would mean nothing to anybody else.
"""

from __future__ import annotations

import warnings as python_warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydicom
import SimpleITK as sitk

from anatomy import structures
from anatomy.dicom_object import RT_STRUCTURE_SET, SEGMENTATION, frame_planes, image_headers
from anatomy.errors import AnatomyError
from anatomy.files import whole_or_nothing
from anatomy.images import corners
from anatomy.matching import on_grid

if TYPE_CHECKING:
    import highdicom

#: How a segmentation came about, as DICOM's Segment Algorithm Type says it.
Origin = Literal["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"]
#: Segmentation type: one mask a segment, which every viewer reads, or label values (since DICOM 2024).
Kind = Literal["BINARY", "LABELMAP"]

_CATEGORY = {
    "tumour": ("49755003", "Morphologically Altered Structure"),
    "fat": ("85756007", "Tissue"),
}
_ANATOMY = ("123037004", "Anatomical Structure")
_KINDS = {"108369006": "Neoplasm", "367643001": "Cyst", "59820001": "Blood vessel", "55603005": "Fat"}
_SIDE = {"left": ("7771000", "Left"), "right": ("24028007", "Right")}
_SERIES_NUMBER = 9001
# Attributes of patient and study that must be there and may be empty (type 2); de-identified series often lack them.
_MAY_BE_EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip


def write_seg(
    path: Path,
    labels: sitk.Image,
    names: Mapping[int, str],
    source: Path,
    *,
    series: str | None = None,
    kind: Kind = "BINARY",
    origin: Origin = "SEMIAUTOMATIC",
) -> None:
    """Write a label image as one DICOM-SEG object.

    Parameters
    ----------
    path : Path
        The file to write; its name ends in .dcm.
    labels : SimpleITK.Image
        Labels, uint8 or uint16, LPS mm.
    names : mapping of int to str
        Structure of each value. BINARY numbers its segments from 1 in the order of the values, LABELMAP keeps the
        values.
    source : Path
        Folder of the series that was labelled.
    series : str, optional
        SeriesInstanceUID where several series of the folder lie where the labels do.
    kind : {'BINARY', 'LABELMAP'}
        Segmentation type.
    origin : {'AUTOMATIC', 'SEMIAUTOMATIC', 'MANUAL'}
        How the labels came about.

    Raises
    ------
    AnatomyError
        If the source holds no series where the labels lie, or several and none was chosen, or the file cannot be
        written whole.
    """
    images, grid = _source(source, series, labels)
    _check_identified(images, source)
    on_source = labels if grid is None else on_grid(labels, grid, None)[0]
    values = sitk.GetArrayFromImage(on_source)
    numbers = {value: value if kind == "LABELMAP" else n for n, value in enumerate(sorted(names), start=1)}
    table = np.zeros(max(names) + 1, dtype=np.uint16)
    table[list(numbers)] = list(numbers.values())
    values = table[np.where(values <= max(names), values, 0)]
    described = [_described(numbers[value], names[value], origin) for value in sorted(names)]
    try:
        seg = _encoded(values, _affine(on_source), images, described, kind)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise AnatomyError(f"the series in {source} cannot be the source of a DICOM-SEG: {error}") from error
    if origin == "SEMIAUTOMATIC":
        # Of labels from elsewhere the algorithm is not known; the standard wants a name all the same.
        for segment in seg.SegmentSequence:
            segment.SegmentAlgorithmName = "not stated"
            segment.pop("SegmentationAlgorithmIdentificationSequence", None)
    with whole_or_nothing(path) as temporary:
        seg.save_as(temporary)


def _encoded(
    values: np.ndarray[Any, np.dtype[Any]],
    affine: np.ndarray[Any, np.dtype[np.float64]],
    images: Sequence[pydicom.Dataset],
    described: Sequence[highdicom.seg.SegmentDescription],
    kind: Kind,
) -> highdicom.seg.Segmentation:
    """The object: segment numbers (slice, row, column) with their place, and what each number is."""
    import highdicom

    with python_warnings.catch_warnings():
        # highdicom remarks on names of one component, which are the source's and not ours to change.
        python_warnings.simplefilter("ignore")
        return highdicom.seg.Segmentation(
            source_images=images,
            pixel_array=highdicom.Volume(
                values if values.max() > 255 else values.astype(np.uint8),
                affine=affine,
                coordinate_system="PATIENT",
                frame_of_reference_uid=str(images[0].FrameOfReferenceUID),
            ),
            segmentation_type=kind,
            segment_descriptions=described,
            series_instance_uid=highdicom.UID(),
            series_number=_SERIES_NUMBER,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer="organtwin",
            manufacturer_model_name="organtwin",
            software_versions=_software(),
            # Equipment has a serial number in DICOM, software has none; the attribute may not be empty.
            device_serial_number="none",
            content_label="SEGMENTATION",
        )


def _source(
    source: Path, series: str | None, labels: sitk.Image
) -> tuple[list[pydicom.Dataset], sitk.Image | None]:
    """Headers of the series that lies where the labels do, and its grid where its slices are an even stack."""
    if not source.is_dir():
        raise AnatomyError(f"{source} is no folder: give the folder of the DICOM series that was labelled")
    groups: dict[str, list[pydicom.Dataset]] = {}
    for header in image_headers(source):
        if header.get("SOPClassUID") not in (*SEGMENTATION, RT_STRUCTURE_SET):
            if not header.get("SpecificCharacterSet"):
                # Empty means the default repertoire, as absent does; highdicom accepts only the latter.
                header.pop("SpecificCharacterSet", None)
            for tag in _MAY_BE_EMPTY:
                if tag not in header:
                    setattr(header, tag, None)
            groups.setdefault(str(header.get("SeriesInstanceUID", "")), []).append(header)
    if series is not None:
        groups = {uid: group for uid, group in groups.items() if uid == series}
    lying: dict[str, tuple[list[pydicom.Dataset], sitk.Image | None]] = {}
    for uid, group in groups.items():
        grid = _grid(group)
        if grid is not None and _covers(grid, labels):
            lying[uid] = (group, grid)
        elif grid is None and _holds(group, labels):
            # An uneven or sheared series that was repaired on reading: the labels lie between its slices.
            lying[uid] = (group, None)
    if not lying:
        raise AnatomyError(
            f"{source} holds no DICOM series where the labels lie: give the folder of the series that was labelled"
        )
    if len(lying) > 1:
        raise AnatomyError(
            f"{len(lying)} series in {source} lie where the labels do: choose one by its series UID "
            f"({', '.join(lying)})"
        )
    return next(iter(lying.values()))


def _check_identified(images: Sequence[pydicom.Dataset], source: Path) -> None:
    """Refuse slices that nothing can refer to: a SEG belongs to their study and names each of them."""
    for image in images:
        for tag in (
            "StudyInstanceUID",
            "SeriesInstanceUID",
            "SOPInstanceUID",
            "SOPClassUID",
            "FrameOfReferenceUID",
        ):
            if not image.get(tag):
                raise AnatomyError(
                    f"the slices in {source} state no {tag} (removed with the names?), so no DICOM-SEG can refer to "
                    "them: write NRRD or NIfTI, or give the series with its identifiers"
                )


def _planes(group: Sequence[pydicom.Dataset]) -> list[np.ndarray[Any, np.dtype[np.float64]]] | None:
    """Position (n, 3), direction (n, 6) and pixel spacing (n, 2) of every frame of a series, if it says so."""
    try:
        return [np.concatenate(parts) for parts in zip(*map(frame_planes, group), strict=True)]
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _grid(group: Sequence[pydicom.Dataset]) -> sitk.Image | None:
    """The grid of a series, sorted along its normal; None where its frames are no even stack."""
    planes = _planes(group)
    if planes is None or np.ptp(planes[1], axis=0).max() > 1e-3 or np.ptp(planes[2], axis=0).max() > 1e-3:
        return None
    positions, axes = planes[0], planes[1][0].reshape(2, 3)
    normal = np.cross(*axes)
    heights = positions @ normal
    order = np.argsort(heights)
    gaps = np.diff(heights[order])
    way = positions[order[-1]] - positions[order[0]]
    aside = float(np.linalg.norm(way - (way @ normal) * normal))
    if gaps.size and (gaps.min() <= 0 or np.ptp(gaps) > 0.02 * gaps.mean() + 0.02 or aside > 0.1):
        return None
    step = float(gaps.mean()) if gaps.size else float(group[0].get("SliceThickness") or 1.0)
    down, across = planes[2][0]
    grid = sitk.Image([int(group[0].Columns), int(group[0].Rows), len(positions)], sitk.sitkUInt8)
    grid.SetSpacing([float(across), float(down), step])
    grid.SetOrigin(positions[order[0]].tolist())
    grid.SetDirection(np.stack([*axes, normal], axis=1).ravel().tolist())
    return grid


def _holds(group: Sequence[pydicom.Dataset], labels: sitk.Image) -> bool:
    """Whether the labels lie within the box round all slices of a series, to within a label voxel."""
    planes = _planes(group)
    if planes is None:
        return False
    across, down = np.array([group[0].Columns - 1.0, group[0].Rows - 1.0]) * planes[2][0][::-1]
    rows, columns = planes[1][:, :3] * across, planes[1][:, 3:] * down
    points = np.concatenate([planes[0] + a * rows + b * columns for a in (0, 1) for b in (0, 1)])
    box, slack = corners(labels), max(labels.GetSpacing())
    return bool(
        (box.min(axis=0) > points.min(axis=0) - slack).all()
        and (box.max(axis=0) < points.max(axis=0) + slack).all()
    )


def _covers(grid: sitk.Image, labels: sitk.Image) -> bool:
    """Whether the labels lie on the slices of the grid."""
    try:
        on_grid(labels, grid, None)
    except AnatomyError:
        return False
    return True


def _affine(image: sitk.Image) -> np.ndarray[Any, np.dtype[np.float64]]:
    """highdicom's affine: index (slice, row, column) to LPS mm, shape (4, 4)."""
    steps = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine = np.eye(4)
    affine[:3, :3] = steps[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    return affine


def _described(number: int, name: str, origin: Origin) -> highdicom.seg.SegmentDescription:
    """One segment's codes, label and colour."""
    import highdicom
    from pydicom.sr.codedict import codes

    known = structures.lookup(name)
    category = _code(*_CATEGORY.get(known.kind if known else "", _ANATOMY))
    what = _code(known.snomed, _meaning(known)) if known and known.snomed else _code(*_ANATOMY)
    regions = None
    if known and known.region:
        place = structures.of_code(structures.Coded("SCT", known.region)) or structures.of_code(
            structures.Coded("SCT", known.region, known.side)
        )
        regions = [_code(known.region, _plain_title(place) if place else "Anatomical region")]
    family = codes.DCM.MorphologicalOperations
    ours = highdicom.AlgorithmIdentificationSequence("organtwin", family, _software())
    segment = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=category,
        segmented_property_type=what,
        algorithm_type=origin,
        algorithm_identification=None if origin == "MANUAL" else ours,
        anatomic_regions=regions,
        display_color=highdicom.color.CIELabColor.from_rgb(*known.colour) if known else None,
    )
    if known and known.side:
        side = [_code(*_SIDE[known.side])]
        if regions:
            segment.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = side
        elif known.snomed:
            segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = side
    return segment


def _meaning(structure: structures.Structure) -> str:
    """What the code of a structure's type means: of a finding or vessel in an organ, the kind alone."""
    return _KINDS.get(structure.snomed or "", _plain_title(structure))


def _plain_title(structure: structures.Structure) -> str:
    """What its code alone means: the title without the side."""
    title = structure.title.removeprefix(f"{structure.side} ") if structure.side else structure.title
    return (title[0].upper() + title[1:])[:64]


def _code(value: str, meaning: str) -> highdicom.sr.CodedConcept:
    import highdicom

    return highdicom.sr.CodedConcept(value, "SCT", meaning)


def _software() -> str:
    try:
        return version("organtwin")
    except PackageNotFoundError:
        return "unreleased"
