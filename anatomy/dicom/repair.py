"""Repair: copies left out, slices moved straight above each other, uneven slices interpolated onto even ones.

Theory: a slice keeps its plane and its picture; only where it stands within the plane is changed. Moving a picture
by (a, b) mm along its rows and columns is resampling it at points shifted by (-a, -b): done with slices of a
tilted gantry it is the shear that sets them upright, and no voxel is read from another slice. Between slices at
heights h₀ < h < h₁ the value is linear: ((h₁ - h) v₀ + (h - h₀) v₁) / (h₁ - h₀).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from anatomy.dicom.pixels import AIR_HU, stored_planes
from anatomy.dicom.slices import counted
from anatomy.dicom.stack import Stack
from anatomy.errors import AnatomyError
from anatomy.images import quiet
from anatomy.repairs import Repair

# A gap wider than this is not bridged: what lies in it is unknown.
_WIDEST_GAPS, _WIDEST_MM = 3.0, 10.0
# Copies may differ in this share of places (a slice scanned twice); more is another phase.
_DIFFERING_SHARE = 0.1
# Slices further aside than this many of their widths are no slices of one volume.
_FARTHEST_WIDTHS = 5.0


def drop_copies(stack: Stack) -> tuple[Stack, Repair]:
    """Keep the slice with the lowest number of those at one place.

    Raises
    ------
    AnatomyError
        If so many of them show something else that they are phases of a series in time.
    """
    copies = set(stack.copies.tolist())
    differing, kept = 0, 0
    for index in range(1, len(stack.slices)):
        if index not in copies:
            kept = index
        elif not _same_picture(stack, kept, index):
            differing += 1
    places = len(stack.slices) - len(copies)
    if differing > max(1.0, _DIFFERING_SHARE * places):
        raise AnatomyError(
            f"{differing} of the {len(copies)} slices at the place of another in {stack.where} show something "
            "else: they are several phases, and drop would mix them; export one phase"
        )
    words = f"{counted(len(copies), 'slice')} at the place of another" + (
        f", {differing} of them with another picture" if differing else ""
    )
    return Stack([one for index, one in enumerate(stack.slices) if index not in copies]), Repair(
        "drop", words
    )


def _same_picture(stack: Stack, a: int, b: int) -> bool:
    with quiet():
        (_, first), (_, second) = (next(stored_planes([stack.slices[i]])) for i in (a, b))
    return np.array_equal(first, second)


def check_gaps(stack: Stack) -> None:
    """Refuse to bridge gaps that are too wide for interpolation to mean anything.

    Raises
    ------
    AnatomyError
        Saying where the widest gap is.
    """
    gaps, usual = stack.gaps, stack.usual_gap
    at = int(np.argmax(gaps))
    if gaps[at] <= min(_WIDEST_GAPS * usual, max(_WIDEST_MM, usual)) + 2 * stack.gap_tolerance:
        return
    raise AnatomyError(
        f"{gaps[at]:.4g} mm between {stack.slices[at].name} and {stack.slices[at + 1].name} in {stack.where} "
        f"are too wide to interpolate ({usual:.4g} mm elsewhere; at most {_WIDEST_GAPS:g} gaps and "
        f"{_WIDEST_MM:g} mm): copy the whole series again"
    )


def check_skew(stack: Stack) -> None:
    """Refuse to move slices so far that they no longer lie over each other: such places cannot be right.

    Raises
    ------
    AnatomyError
        Saying how far they lie apart.
    """
    columns, rows = stack.slices[0].size
    width = max(columns * stack.spacing[0], rows * stack.spacing[1])
    worst = float(np.linalg.norm(stack.aside, axis=1).max())
    if worst > _FARTHEST_WIDTHS * width:
        raise AnatomyError(
            f"the slices in {stack.where} lie up to {worst:.0f} mm aside of each other and are {width:.0f} mm "
            "wide: they are no slices of one volume; give the original series"
        )


def deskew(
    voxels: NDArray[Any], stack: Stack, background: float
) -> tuple[NDArray[Any], NDArray[np.float64], Repair]:
    """Move slices within their planes until they stand straight above each other.

    Parameters
    ----------
    voxels : ndarray, shape (n, rows, columns)
        Slices of the stack.
    stack : Stack
        Where they lie.
    background : float
        Value where no slice has a voxel.

    Returns
    -------
    voxels : ndarray, shape (n, more rows, more columns)
        Upright, of the same type.
    origin : ndarray, shape (3,)
        Centre of the first voxel, LPS mm.
    repair : Repair
        What was done.
    """
    spacing = np.array(stack.spacing)
    steps = stack.aside / spacing
    low = np.floor(steps.min(axis=0) + 1e-6).astype(int)
    more = np.ceil(steps.max(axis=0) - 1e-6).astype(int) - low
    rows, columns = voxels.shape[1] + more[1], voxels.shape[2] + more[0]
    upright = np.empty((len(voxels), rows, columns), voxels.dtype)
    for index, plane in enumerate(voxels):
        shift = sitk.TranslationTransform(2, (low - steps[index]).tolist())
        # As floating point: ITK cuts interpolated whole numbers off instead of rounding them.
        moved = sitk.Resample(
            sitk.GetImageFromArray(plane.astype(np.float32)), (int(columns), int(rows)), shift, sitk.sitkLinear,
            (0.0, 0.0), (1.0, 1.0), (1.0, 0.0, 0.0, 1.0), background,
        )  # fmt: skip
        upright[index] = _as(voxels.dtype, sitk.GetArrayViewFromImage(moved))
    origin = stack.positions[0] + (low * spacing) @ stack.frame[:2]
    worst = float(np.linalg.norm(stack.aside, axis=1).max())
    words = (
        f"slices moved within their planes by up to {worst:.1f} mm ({stack.tilt_degrees:.1f}°), linear; "
        f"{background:g} where no slice has a voxel"
    )
    return upright, origin, Repair("deskew", words)


def resample(voxels: NDArray[Any], stack: Stack) -> tuple[NDArray[Any], float, Repair]:
    """Interpolate uneven slices onto even ones.

    Parameters
    ----------
    voxels : ndarray, shape (n, rows, columns)
        Slices that stand straight above each other.
    stack : Stack
        Where they lie.

    Returns
    -------
    voxels : ndarray, shape (more, rows, columns)
        Even slices from the first height to the last, of the same type.
    gap_mm : float
        Their distance, mm.
    repair : Repair
        How many were interpolated, and where the widest gap is.
    """
    heights = stack.heights
    length = heights[-1] - heights[0]
    count = round(length / stack.usual_gap) + 1
    even = heights[0] + np.linspace(0.0, length, max(count, 2))
    below = np.clip(np.searchsorted(heights, even, side="right") - 1, 0, len(heights) - 2)
    share = (even - heights[below]) / (heights[below + 1] - heights[below])
    near = stack.gap_tolerance / (heights[below + 1] - heights[below])
    # A slice where an even one is wanted is taken as it is.
    share = np.where(share < near, 0.0, np.where(share > 1.0 - near, 1.0, share))
    made = np.empty((len(even), *voxels.shape[1:]), voxels.dtype)
    for index, (at, part) in enumerate(zip(below.tolist(), share.tolist(), strict=True)):
        if part in (0.0, 1.0):
            made[index] = voxels[at + int(part)]
            continue
        value = (1.0 - part) * voxels[at].astype(np.float32) + part * voxels[at + 1].astype(np.float32)
        made[index] = _as(voxels.dtype, value)
    invented = int(((share > 0.0) & (share < 1.0)).sum())
    at = int(np.argmax(stack.gaps))
    words = (
        f"{invented} of {len(even)} slices interpolated, linear, every {length / (len(even) - 1):.4g} mm; the "
        f"widest gap is {stack.gaps[at]:.4g} mm, after slice {at + 1} of {len(heights)}"
    )
    return made, float(length / (len(even) - 1)), Repair("resample", words)


def _as(kind: np.dtype[Any], values: NDArray[Any]) -> NDArray[Any]:
    """Interpolated values, rounded where the volume holds whole numbers."""
    return np.rint(values) if kind.kind == "i" else values


def background_of(voxels: NDArray[Any], modality: str) -> float:
    """What fills voxels outside the scan: air in a CT, else the smallest value there is."""
    return float(AIR_HU) if modality == "CT" else float(voxels.min())
