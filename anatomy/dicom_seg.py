"""DICOM-SEG in and out, by highdicom.

A SEG holds one mask a segment and slice (BINARY), one share a segment and slice (FRACTIONAL), or label values
(LABELMAP); empty slices may be left out, and frames come in any order. Where each frame lies is taken from its own
plane position and orientation (DICOM PS3.3 A.51 and C.8.20), never from the order of frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from anatomy.dicom_object import check_frame, coded, frame_planes, one_sentence
from anatomy.errors import AnatomyError
from anatomy.segments import Found, Reading, Segment, flatten

if TYPE_CHECKING:
    import highdicom

# Share of a voxel by which a frame may miss its place: positions are written as decimal strings.
_TOLERANCE = 0.05


def read_seg(path: Path, reading: Reading) -> Found:
    """Read a DICOM-SEG as one label image.

    Parameters
    ----------
    path : Path
        The file: segmentation type BINARY, FRACTIONAL or LABELMAP.
    reading : Reading
        Names by segment number, choice, priority, threshold of fractional segments, the scan's grid and frames.

    Returns
    -------
    Found
        Label image on the object's own grid, LPS mm; slices that were left out are filled with 0.

    Raises
    ------
    AnatomyError
        If the file is damaged, belongs to another frame of reference, has no place in the patient, segments
        overlap without a priority, or its frames fit no grid.
    """
    import highdicom

    with one_sentence(path, "DICOM-SEG"):
        seg = highdicom.seg.segread(path)
        _check_patient(seg, path)
    check_frame(str(seg.get("FrameOfReferenceUID", "")), reading.frames, path)
    with one_sentence(path, "DICOM-SEG"):
        stack = _stack(seg, reading.grid, path)
        found = flatten(_segments(seg, stack, reading.threshold), stack.grid, reading, str(path))
    if seg.segmentation_type.value == "FRACTIONAL":
        meaning = str(seg.get("SegmentationFractionalType", "of no stated meaning")).lower()
        found.warnings.append(
            f"fractional segments ({meaning}) were cut at a share of "
            f"{reading.threshold:g}: a voxel counts from there on"
        )
    return found


def _check_patient(seg: highdicom.seg.Segmentation, path: Path) -> None:
    shared = seg.SharedFunctionalGroupsSequence[0]
    frames = seg.get("PerFrameFunctionalGroupsSequence") or []
    if not frames:
        raise AnatomyError(f"{path} holds no frame: the segmentation is empty")
    if "PlanePositionSequence" not in frames[0] and "PlanePositionSequence" not in shared:
        raise AnatomyError(
            f"{path} does not say where its slices lie in a patient (a microscopy slide or a plain picture): "
            "give a segmentation of a CT or MR series"
        )


@dataclass(frozen=True)
class _Stack:
    """The grid of a segmentation, and the slice of it that each frame lies on."""

    grid: sitk.Image
    slices: NDArray[np.int_]


def _stack(seg: highdicom.seg.Segmentation, scan: sitk.Image | None, path: Path) -> _Stack:
    """Frames sorted along their normal.

    The step between slices is the object's own where it states one or its frames tell; a scan's where the object
    leaves it open and every frame lies on one of the scan's slices.
    """
    positions, axes, spacing = _planes(seg, path)
    normal = np.cross(axes[0], axes[1])
    heights = (positions - positions[0]) @ normal
    aside = positions - positions[0] - heights[:, None] * normal
    if np.abs(aside).max() > _TOLERANCE * spacing.min():
        raise AnatomyError(
            f"the slices of {path} do not lie straight above each other (a tilted gantry), so they are no volume: "
            "export it on an upright grid"
        )
    step = _step(seg, heights, normal, scan)
    if step is None:
        raise AnatomyError(
            f"the slices of {path} lie at uneven distances"
            + (" and not on the scan's" if scan is not None else "")
            + ", so they are no volume: give the scan that was segmented"
        )
    slices = np.rint(heights / step).astype(int)
    first = int(slices.min())
    grid = sitk.Image([int(seg.Columns), int(seg.Rows), int(slices.max()) - first + 1], sitk.sitkUInt8)
    grid.SetSpacing([float(spacing[1]), float(spacing[0]), step])
    grid.SetOrigin((positions[0] + first * step * normal).tolist())
    grid.SetDirection(np.stack([*axes, normal], axis=1).ravel().tolist())
    return _Stack(grid, slices - first)


def _planes(
    seg: highdicom.seg.Segmentation, path: Path
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Centre of each frame's first pixel (n, 3), row and column direction (2, 3), pixel spacing (down, across), mm."""
    positions, axes, spacing = frame_planes(seg)
    if np.ptp(axes, axis=0).max() > 1e-3 or np.ptp(spacing, axis=0).max() > 1e-3:
        raise AnatomyError(
            f"the slices of {path} lie in different directions or have different pixels: they are several stacks; "
            "export one segmentation for each"
        )
    row = axes[0, :3] / np.linalg.norm(axes[0, :3])
    column = axes[0, 3:] - (axes[0, 3:] @ row) * row
    return positions, np.array([row, column / np.linalg.norm(column)]), spacing[0]


def _step(
    seg: highdicom.seg.Segmentation,
    heights: NDArray[np.float64],
    normal: NDArray[np.float64],
    scan: sitk.Image | None,
) -> float | None:
    """Distance between slices, mm; None where the frames lie at uneven distances."""
    geometry = seg.get_volume_geometry()
    own = None if geometry is None else float(geometry.spacing_between_slices)
    measures = seg.SharedFunctionalGroupsSequence[0].get("PixelMeasuresSequence")
    stated = bool(measures and measures[0].get("SpacingBetweenSlices"))
    if scan is None or (stated and own is not None):
        return own
    directions = np.array(scan.GetDirection()).reshape(3, 3)
    along = np.flatnonzero(np.abs(normal @ directions) > 1 - 1e-4)
    if along.size == 1:
        scans = float(scan.GetSpacing()[along[0]])
        if np.abs(heights / scans - np.rint(heights / scans)).max() <= _TOLERANCE:
            return scans
    return own


def _segments(seg: highdicom.seg.Segmentation, stack: _Stack, threshold: float) -> list[Segment]:
    """The segments with voxels made when asked for; LABELMAP's background is none."""
    shape = stack.grid.GetSize()[::-1]
    kind = seg.segmentation_type.value
    if kind == "LABELMAP":
        values = np.zeros(shape, dtype=np.uint16)
        for frame, place in enumerate(stack.slices, start=1):
            values[place] = seg.get_stored_frame(frame)
        return [_segment(seg, n, partial(np.equal, values, n)) for n in seg.segment_numbers if n]
    frames: dict[int, list[int]] = {n: [] for n in seg.segment_numbers}
    for index, group in enumerate(seg.PerFrameFunctionalGroupsSequence):
        holder = group if "SegmentIdentificationSequence" in group else seg.SharedFunctionalGroupsSequence[0]
        frames[int(holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber)].append(index)
    least = 1 if kind == "BINARY" else threshold * int(seg.MaximumFractionalValue) - 1e-6

    def mask(number: int) -> NDArray[np.bool_]:
        found = np.zeros(shape, dtype=bool)
        for index in frames[number]:
            found[stack.slices[index]] |= seg.get_stored_frame(index + 1) >= least
        return found

    return [_segment(seg, n, partial(mask, n)) for n in frames]


def _segment(seg: highdicom.seg.Segmentation, number: int, mask: Callable[[], Any]) -> Segment:
    about = seg.get_segment_description(number)
    what = coded(about.get("SegmentedPropertyTypeCodeSequence"), about.get("AnatomicRegionSequence"))
    return Segment(number, str(about.SegmentLabel), mask, what)
