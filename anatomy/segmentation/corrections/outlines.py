"""A structure's surface bent towards outlines that were drawn on slices.

Theory: the structure is where a signed distance d is negative. In a drawn slice the present section has a distance d_now
in the plane and the drawn one d_drawn; there d must become d * d_drawn / d_now, which vanishes on the outline and leaves
alone what was drawn as it was. The change, d * (d_drawn - d_now) / d_now, is carried straight off the slice, fades over
the reach as a Gaussian, and where several slices speak it is their mean weighted by the inverse square of their distance
(Shepard 1968, Proc. 23rd ACM Nat. Conf., 517). Drawn slices themselves hold exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.segmentation.corrections.crop import Crop, Points, indices
from anatomy.segmentation.corrections.walk import on_voxels

# The field is computed on at most this many nodes and brought to the scan's voxels.
_MOST_NODES = 250_000
# An outline may leave its slice by this share of a voxel.
_FLAT = 0.6
_NESTED_SHARE = 0.6


@dataclass(frozen=True, eq=False)
class Drawn:
    """What was drawn in one slice.

    Parameters
    ----------
    axis, index : int
        Voxel axis (0 z, 1 y, 2 x) across the slice, and the slice's number in the crop.
    section : ndarray, two-dimensional, bool
        Where the structure is in that slice of the crop.
    """

    axis: int
    index: int
    section: NDArray[np.bool_]


def decide(
    labels: LabelMap, structure: str, outlines_mm: Sequence[Points], reach_mm: float
) -> tuple[Crop, NDArray[np.bool_]]:
    """Where the structure is after outlines were drawn.

    Parameters
    ----------
    labels : LabelMap
        The present segmentation.
    structure : str
        Whose section was drawn; what lies within it (a tumour) counts as part of it here.
    outlines_mm : sequence of sequences of (x, y, z)
        Corners of closed outlines, LPS mm.
    reach_mm : float
        Where the change beside a slice has faded, mm.

    Returns
    -------
    Crop, ndarray of bool
        The box, and where in it the structure is.

    Raises
    ------
    AnatomyError
        If an outline lies outside the scan or in no slice.
    """
    every = [point for outline in outlines_mm for point in outline]
    crop = Crop.around(labels.image, every, reach_mm, "an outline")
    array = crop.of(labels.array)
    value = labels.value(structure)
    mask = np.isin(array, [value, *within(array, value)])
    drawn = _sections(crop, outlines_mm)
    steps = _steps(crop)
    change, signed = _bend(mask, drawn, crop.spacing, steps, reach_mm)
    change, signed = (on_voxels(field, mask.shape, steps) for field in (change, signed))
    # Where nothing is bent the border stays as it was, to the voxel.
    bent = np.abs(change) > 0.2 * float(crop.spacing.min())
    decided = np.where(bent, signed + change < 0.0, mask)
    for slice_ in drawn:
        decided[_plane(slice_.axis, slice_.index)] = slice_.section
    return crop, decided


def within(array: NDArray[Any], value: int) -> list[int]:
    """Values of the structures that lie inside one: most of their surface touches it."""
    counts: dict[tuple[int, int], int] = {}
    for axis in range(3):
        a, b = np.delete(array, -1, axis).ravel(), np.delete(array, 0, axis).ravel()
        differ = a != b
        pairs, times = np.unique(
            np.stack([a[differ], b[differ]]).astype(np.int64), axis=1, return_counts=True
        )
        for (left, right), times_ in zip(pairs.T.tolist(), times.tolist(), strict=True):
            counts[left, right] = counts.get((left, right), 0) + times_
            counts[right, left] = counts.get((right, left), 0) + times_
    surface: dict[int, int] = {}
    for (left, _), times_ in counts.items():
        surface[left] = surface.get(left, 0) + times_
    return [
        other
        for other in surface
        if other not in (0, value) and counts.get((other, value), 0) > _NESTED_SHARE * surface[other]
    ]


def _sections(crop: Crop, outlines_mm: Sequence[Points]) -> list[Drawn]:
    """The outlines by slice; several in one slice are joined by exclusive or, so that one inside another is a hole."""
    found: dict[tuple[int, int], NDArray[np.bool_]] = {}
    for outline in outlines_mm:
        places = indices(crop.image, outline)
        spread = np.ptp(places, axis=0)
        axis = int(np.argmin(spread))
        if spread[axis] > _FLAT:
            raise AnatomyError(
                f"an outline leaves its slice by {spread[axis]:.1f} voxels: draw it in one slice of the scan"
            )
        if sorted(spread)[1] < 1.0:
            raise AnatomyError("an outline encloses nothing: it is thinner than a voxel")
        index = int(np.clip(round(float(places[:, axis].mean())), 0, crop.image.GetSize()[2 - axis] - 1))
        plane = np.delete(places - crop.low, axis, axis=1)
        shape = tuple(int(n) for n in np.delete(crop.shape, axis))
        key = (axis, index - int(crop.low[axis]))
        found[key] = found.get(key, np.zeros(shape, dtype=bool)) ^ _enclosed(plane, shape)
    return [Drawn(axis, index, section) for (axis, index), section in found.items()]


def _enclosed(corners: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which pixel centres a polygon encloses, by the even-odd rule."""
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    inside = np.zeros(shape, dtype=bool)
    for (r0, c0), (r1, c1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if r0 == r1:
            continue
        crossed = (rows >= min(r0, r1)) & (rows < max(r0, r1))
        inside ^= crossed & (columns < c0 + (rows - r0) * (c1 - c0) / (r1 - r0))
    return inside


def _steps(crop: Crop) -> NDArray[np.int64]:
    """Every how many voxels along z, y, x there is a node."""
    volume = float(np.prod(crop.spacing) * np.prod(crop.shape))
    edge = max((volume / _MOST_NODES) ** (1 / 3), float(crop.spacing.min()))
    return np.maximum(1, np.floor(edge / crop.spacing + 0.2)).astype(int)


def _bend(
    mask: NDArray[np.bool_],
    drawn: Sequence[Drawn],
    spacing: NDArray[np.float64],
    steps: NDArray[np.int64],
    reach_mm: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """On the nodes: what the signed distance must change by, and the signed distance, mm."""
    nodes = tuple(slice(s // 2, None, s) for s in steps)
    edges = spacing * steps
    signed = _signed(mask[nodes], edges, reach_mm)
    total = np.zeros_like(signed)
    weights = np.zeros_like(signed)
    for slice_ in drawn:
        axis = slice_.axis
        off = np.abs(np.arange(mask.shape[axis])[nodes[axis]] - slice_.index) * spacing[axis]
        change = _asked(slice_, mask, signed, nodes, edges, reach_mm)
        shape = [-1 if a == axis else 1 for a in range(3)]
        weight = (1.0 / (off**2 + edges[axis] ** 2)).astype(np.float32).reshape(shape)
        fade = np.exp(-0.5 * (2.0 * off / reach_mm) ** 2).astype(np.float32).reshape(shape)
        total += weight * fade * np.expand_dims(change, axis)
        weights += weight
    return total / weights, signed


def _asked(
    slice_: Drawn,
    mask: NDArray[np.bool_],
    signed: NDArray[np.float32],
    nodes: tuple[slice, ...],
    edges: NDArray[np.float64],
    reach_mm: float,
) -> NDArray[np.float32]:
    """What the distance must change by on the nodes of a drawn slice, mm."""
    axis = slice_.axis
    across = tuple(n for a, n in enumerate(nodes) if a != axis)
    flat = np.delete(edges, axis)
    now = _signed(mask[_plane(axis, slice_.index)][across], flat, reach_mm)
    then = _signed(slice_.section[across], flat, reach_mm)
    start, step = nodes[axis].start, nodes[axis].step
    nearest = int(np.clip(round((slice_.index - start) / step), 0, signed.shape[axis] - 1))
    slope = np.clip(np.abs(signed[_plane(axis, nearest)]) / np.maximum(np.abs(now), 0.5), 0.3, 1.0)
    return np.asarray(slope * (then - now), dtype=np.float32)


def _signed(mask: NDArray[np.bool_], edges: NDArray[np.float64], most_mm: float) -> NDArray[np.float32]:
    """Signed distance to a mask's border, negative inside, mm, clipped."""
    if not mask.any():
        return np.full(mask.shape, most_mm, dtype=np.float32)
    if mask.all():
        return np.full(mask.shape, -most_mm, dtype=np.float32)
    half = 0.5 * float(edges.min())
    outside = ndimage.distance_transform_edt(~mask, sampling=edges)
    inside = ndimage.distance_transform_edt(mask, sampling=edges)
    signed = np.where(mask, half - inside, outside - half)
    return np.clip(signed, -most_mm, most_mm).astype(np.float32)


def _plane(axis: int, index: int) -> tuple[Any, ...]:
    return tuple(index if a == axis else slice(None) for a in range(3))
