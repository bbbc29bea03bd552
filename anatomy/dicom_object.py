"""DICOM objects that describe an image without being one: what kind a file is, and whose space it lies in.

Two objects lie in one patient space when their FrameOfReferenceUID is the same (DICOM PS3.3 C.7.4.1). Coordinates
of another frame may look plausible and be wrong by centimetres, so a label map of another frame is refused.
"""

from __future__ import annotations

import warnings as python_warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.misc import is_dicom
from pydicom.uid import UID

from anatomy.errors import AnatomyError
from anatomy.structures import Coded

SEGMENTATION = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
_SIDES = {"7771000": "left", "24028007": "right", "G-A101": "left", "G-A100": "right"}


@contextmanager
def one_sentence(path: Path, what: str) -> Iterator[None]:
    """One sentence for whatever pydicom or highdicom says of a damaged file."""
    try:
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore")
            yield
    except (AnatomyError, MemoryError):
        raise
    except Exception as error:
        # Both libraries raise exceptions of many kinds on what is cut short or not as the standard says.
        text = " ".join(str(error).split())
        reason = (text[:100] + "…" if len(text) > 100 else text) or type(error).__name__
        raise AnatomyError(
            f"{path} is a {what} that is damaged, cut short or not as the standard says ({reason}): export it again"
        ) from error


def class_of(path: Path) -> str | None:
    """SOPClassUID of a DICOM file; None for any other file.

    Raises
    ------
    AnatomyError
        If the file starts like DICOM but is damaged.
    """
    if not path.is_file() or not is_dicom(path):
        return None
    header = _header(path, ["SOPClassUID"])
    kind = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
    if not kind:
        raise AnatomyError(
            f"{path} is a damaged or cut-short DICOM file (it does not say what it is): export it again"
        )
    return str(kind)


def kind_of(path: Path) -> str:
    """What a DICOM file is, in DICOM's own words."""
    return UID(class_of(path) or "", pydicom.config.IGNORE).name or "DICOM object"


def frames_of_reference(source: Path) -> frozenset[str] | None:
    """FrameOfReferenceUIDs of a DICOM file or of all below a folder; None where there is none to compare."""
    frames = set()
    for path in [source] if source.is_file() else source.rglob("*"):
        if path.is_file() and is_dicom(path):
            header = _header(path, ["FrameOfReferenceUID", "SOPClassUID"])
            if header.get("SOPClassUID") not in (*SEGMENTATION, RT_STRUCTURE_SET):
                frames.add(str(header.get("FrameOfReferenceUID", "")))
    return frozenset(frames - {""}) or None


def check_frame(found: str, frames: frozenset[str] | None, path: Path) -> None:
    """Refuse an object that lies in another frame of reference than the scan.

    Raises
    ------
    AnatomyError
        If it does.
    """
    if frames is not None and found not in frames:
        raise AnatomyError(
            f"{path} lies in another frame of reference than the scan ({found or 'none stated'}; the scan's is "
            f"{', '.join(sorted(frames))}): it belongs to another scan. Give the scan that it was drawn on, or "
            "read it all the same with any_frame (--label-any-frame) if you know that both are registered"
        )


def coded(items: Any, region: Any = None) -> Coded | None:
    """What a code sequence says, with the side of its modifiers (of the type or of its region).

    Parameters
    ----------
    items : pydicom sequence or None
        SegmentedPropertyTypeCodeSequence or RTROIIdentificationCodeSequence.
    region : pydicom sequence, optional
        AnatomicRegionSequence.
    """
    if not items or not items[0].get("CodeValue"):
        return None
    code = items[0]
    place = region[0] if region else None
    modifiers = [*(code.get("SegmentedPropertyTypeModifierCodeSequence") or [])]
    if place is not None:
        modifiers += [*(place.get("AnatomicRegionModifierSequence") or [])]
    sides = [_SIDES[m.CodeValue] for m in modifiers if m.get("CodeValue") in _SIDES]
    return Coded(
        str(code.get("CodingSchemeDesignator", "")),
        str(code.CodeValue),
        sides[0] if sides else None,
        str(place.CodeValue) if place is not None and place.get("CodeValue") else None,
    )


def frame_planes(
    data: pydicom.Dataset,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Where each frame of a single- or multi-frame object lies.

    Returns
    -------
    positions : ndarray (n, 3) float64
        Centre of each frame's first pixel, LPS mm.
    axes : ndarray (n, 6) float64
        Row and column direction cosines.
    spacing : ndarray (n, 2) float64
        Distance between rows and between columns, mm.

    Raises
    ------
    AttributeError, KeyError, TypeError or ValueError
        If the object does not say.
    """
    frames = data.get("PerFrameFunctionalGroupsSequence")
    if not frames:
        found = (data.ImagePositionPatient, data.ImageOrientationPatient, data.PixelSpacing)
        positions, axes, spacing = (np.array([[float(v) for v in values]]) for values in found)
        return positions, axes, spacing
    shared = data.SharedFunctionalGroupsSequence[0]

    def of(frame: pydicom.Dataset, group: str, value: str) -> list[float]:
        holder = frame if group in frame else shared
        return [float(v) for v in holder[group].value[0][value].value]

    return (
        np.array([of(f, "PlanePositionSequence", "ImagePositionPatient") for f in frames]),
        np.array([of(f, "PlaneOrientationSequence", "ImageOrientationPatient") for f in frames]),
        np.array([of(f, "PixelMeasuresSequence", "PixelSpacing") for f in frames]),
    )


def image_headers(source: Path) -> list[pydicom.Dataset]:
    """Headers, without pixels, of the DICOM files below a folder, by path.

    Raises
    ------
    AnatomyError
        If one of them is damaged.
    """
    return [_header(p, None) for p in sorted(source.rglob("*")) if p.is_file() and is_dicom(p)]


def _header(path: Path, tags: list[str] | None) -> pydicom.Dataset:
    with one_sentence(path, "DICOM file"), pydicom.config.disable_value_validation():
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
        for tag in tags or ():
            # pydicom turns bytes into values when they are first asked for, and may fail then.
            header.get(tag)
        return header
