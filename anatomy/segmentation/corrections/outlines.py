"""A structure's surface bent towards outlines that were drawn on slices.

Theory: a drawn slice says where the present section is right, and where and how thickly it is wrong. Only the
surroundings of what is wrong are decided anew: each wrong pixel frees the voxels around it up to a few times the
thickness of the wrong piece there (and the reach at most), for what is wrong by 3 mm in one slice is seldom wrong by
30 mm in the next. The free voxels go to the side from which a random walker on the scan comes (Grady 2006, IEEE PAMI
28:1768): pixels of drawn slices and all voxels that are not free are its seeds, and the present segmentation is a weak
prior (Grady 2005, CVPR 1:763). A step between neighbours has the weight exp(-(I_i - I_j)^2 / (2 s^2)) / h_ij^2, s being
twice the median difference of neighbours. Drawn slices themselves hold exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.linalg import cg

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.scan import Scan
from anatomy.segmentation.corrections.crop import Crop, Points, indices
from anatomy.segmentation.corrections.seeds import node_steps, on_nodes, on_voxels

# The walk is solved on at most this many nodes of the box; a finer scan is decided coarsely and brought back.
_MOST_NODES, _MOST_FREE = 250_000, 60_000
_FREED = 4.0
_PRIOR = 0.01
_FLOOR = 1e-3
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

    def within(self, crop: Crop) -> Drawn:
        """The same in a smaller box."""
        part = tuple(s for a, s in enumerate(crop.slices) if a != self.axis)
        return Drawn(self.axis, self.index - int(crop.low[self.axis]), self.section[part])


def decide(
    scan: Scan, labels: LabelMap, structure: str, outlines_mm: Sequence[Points], reach_mm: float
) -> tuple[Crop, NDArray[np.bool_]]:
    """Where the structure is after outlines were drawn.

    Parameters
    ----------
    scan : Scan
        The scan.
    labels : LabelMap
        The present segmentation, on the scan's grid.
    structure : str
        Whose section was drawn; what lies within it (a tumour) counts as part of it here.
    outlines_mm : sequence of sequences of (x, y, z)
        Corners of closed outlines, LPS mm.
    reach_mm : float
        How far from a wrong pixel anything may change, mm.

    Returns
    -------
    Crop, ndarray of bool
        The box, and where in it the structure is.

    Raises
    ------
    AnatomyError
        If an outline lies outside the scan or in no slice.
    """
    value = labels.value(structure)
    ours = [value, *within(_sparse(labels.array), value)]
    whole = Crop(scan.image, np.zeros(3, dtype=int), np.array(labels.array.shape))
    for outline in outlines_mm:
        Crop.around(scan.image, outline, 0.0, "an outline")
    drawn = _sections(whole, outlines_mm)
    crop = _box(scan, labels.array, ours, drawn, reach_mm)
    if crop is None:
        return whole, np.isin(labels.array, ours)
    drawn = [
        slice_.within(crop)
        for slice_ in drawn
        if crop.low[slice_.axis] <= slice_.index < crop.high[slice_.axis]
    ]
    mask = np.isin(crop.of(labels.array), ours)
    steps = node_steps(crop, _MOST_NODES)
    free, known = _free(mask, drawn, crop.spacing, steps, reach_mm)
    if np.count_nonzero(free) > _MOST_FREE:
        steps = node_steps(crop, int(free.size * _MOST_FREE / np.count_nonzero(free)))
        free, known = _free(mask, drawn, crop.spacing, steps, reach_mm)
    nodes = tuple(slice(s // 2, None, s) for s in steps)
    edges = crop.spacing * steps
    before = mask[nodes].astype(np.float32)
    after = walk(on_nodes(crop.of(scan.array), steps), known, free, before, edges)
    if (steps > 1).any():
        moved = np.abs(on_voxels(after - before, mask.shape, steps)) > 0.35
        decided = np.where(moved, on_voxels(after, mask.shape, steps) > 0.5, mask)
    else:
        decided = after > 0.5
    for slice_ in drawn:
        decided[_plane(slice_.axis, slice_.index)] = slice_.section
    return crop, decided


def _sparse(array: NDArray[Any]) -> NDArray[Any]:
    """Every so many voxels of a large array, enough to see what touches what."""
    step = max(1, round((array.size / 500_000) ** (1 / 3)))
    return array[::step, ::step, ::step]


def _box(
    scan: Scan, array: NDArray[Any], ours: Sequence[int], drawn: Sequence[Drawn], reach_mm: float
) -> Crop | None:
    """The box of what is wrong in the drawn slices and of what that frees; None where all is right."""
    spacing = np.array(scan.spacing_mm)[::-1]
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for slice_ in drawn:
        axis = slice_.axis
        wrong = np.isin(array[_plane(axis, slice_.index)], ours) ^ slice_.section
        if not wrong.any():
            continue
        box = ndimage.find_objects(wrong.astype(np.uint8))[0]
        thick = ndimage.distance_transform_edt(np.pad(wrong[box], 1), sampling=np.delete(spacing, axis)).max()
        margin = (min(reach_mm, _FREED * (float(thick) + 1.5)) + 3.0) / spacing
        first = np.insert([s.start for s in box], axis, slice_.index)
        last = np.insert([s.stop for s in box], axis, slice_.index + 1)
        low, high = np.minimum(low, first - margin), np.maximum(high, last + margin)
    if not np.isfinite(low).all():
        return None
    size = np.array(array.shape)
    low, high = np.maximum(np.floor(low), 0).astype(int), np.minimum(np.ceil(high), size).astype(int)
    return Crop(scan.image, low, high)


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
    columns = np.arange(shape[1])[None, :]
    inside = np.zeros(shape, dtype=bool)
    for (r0, c0), (r1, c1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        first = int(np.clip(np.ceil(min(r0, r1)), 0, shape[0]))
        last = int(np.clip(np.ceil(max(r0, r1)), 0, shape[0]))
        if first >= last:
            continue
        rows = np.arange(first, last)[:, None]
        inside[first:last] ^= columns < c0 + (rows - r0) * (c1 - c0) / (r1 - r0)
    return inside


def _free(
    mask: NDArray[np.bool_],
    drawn: Sequence[Drawn],
    spacing: NDArray[np.float64],
    steps: NDArray[np.int64],
    reach_mm: float,
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """On the nodes: which are decided anew, and what the others are (0 or 1)."""
    nodes = tuple(slice(s // 2, None, s) for s in steps)
    edges = spacing * steps
    known = mask[nodes].astype(np.float32)
    wrong = np.zeros(known.shape, dtype=np.float32)
    fixed = np.zeros(known.shape, dtype=bool)
    for slice_ in drawn:
        axis = slice_.axis
        differs = mask[_plane(axis, slice_.index)] ^ slice_.section
        thick = ndimage.distance_transform_edt(np.pad(differs, 1), sampling=np.delete(spacing, axis))[
            1:-1, 1:-1
        ]
        across = tuple(n for a, n in enumerate(nodes) if a != axis)
        start, step = nodes[axis].start, nodes[axis].step
        nearest = int(np.clip(round((slice_.index - start) / step), 0, known.shape[axis] - 1))
        plane = _plane(axis, nearest)
        wrong[plane] = np.maximum(wrong[plane], thick[across])
        known[plane] = slice_.section[across]
        fixed[plane] = True
    free = np.zeros(known.shape, dtype=bool)
    for level in np.unique(np.ceil(wrong[wrong > 0] / 1.5)) * 1.5:
        reach = min(_FREED * float(level), reach_mm)
        away = ndimage.distance_transform_edt(wrong <= level - 1.5, sampling=edges)
        free |= away <= reach
    return free & ~fixed, known


def walk(
    values: NDArray[np.float32],
    known: NDArray[np.float32],
    free: NDArray[np.bool_],
    prior: NDArray[np.float32],
    edges: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Probability that a random walker from each node comes to the structure.

    Parameters
    ----------
    values : ndarray, shape (z, y, x), float32
        The scan on the nodes.
    known : ndarray, float32
        0 or 1 where a node is not free.
    free : ndarray, bool
        Nodes to decide.
    prior : ndarray, float32
        What is believed of free nodes, weakly, 0 to 1.
    edges : ndarray, shape (3,)
        Distance of nodes along z, y, x, mm.
    """
    chance = known.astype(np.float64)
    count = int(np.count_nonzero(free))
    if count == 0:
        return known
    number = np.full(free.shape, -1)
    number[free] = np.arange(count)
    first, second, weight = _pairs(values, free, edges)
    rows, columns = np.concatenate([first, second]), np.concatenate([second, first])
    weights = np.concatenate([weight, weight])
    use = free.ravel()[rows]
    rows, columns, weights = number.ravel()[rows[use]], columns[use], weights[use]
    inner = free.ravel()[columns]
    diagonal = np.bincount(rows, weights, count) + _PRIOR
    right = _PRIOR * prior[free].astype(np.float64)
    right += np.bincount(rows[~inner], weights[~inner] * chance.ravel()[columns[~inner]], count)
    targets = number.ravel()[columns[inner]]
    off = sparse.csr_matrix((-weights[inner], (rows[inner], targets)), shape=(count, count))
    scale = sparse.diags(1.0 / diagonal)
    start = prior[free].astype(np.float64)
    solved, _ = cg(off + sparse.diags(diagonal), right, x0=start, rtol=1e-3, maxiter=300, M=scale)
    chance[free] = solved
    return chance.astype(np.float32)


def _pairs(
    values: NDArray[np.float32], free: NDArray[np.bool_], edges: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Neighbouring nodes of which one is free, and the weight of a step between them."""
    index = np.arange(values.size).reshape(values.shape)
    firsts, seconds, jumps, lengths = [], [], [], []
    for axis in range(3):
        head = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        tail = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        use = free[head] | free[tail]
        firsts.append(index[head][use])
        seconds.append(index[tail][use])
        jumps.append((values[tail] - values[head])[use])
        lengths.append(np.full(len(firsts[-1]), (edges.min() / edges[axis]) ** 2))
    jump = np.concatenate(jumps).astype(np.float64)
    # Twice the median difference of neighbours: noise passes, borders of organs hold.
    typical = max(2.0 * float(np.median(np.abs(jump))), 1e-6)
    weight = (np.exp(-0.5 * (jump / typical) ** 2) + _FLOOR) * np.concatenate(lengths)
    return np.concatenate(firsts), np.concatenate(seconds), weight


def _plane(axis: int, index: int) -> tuple[Any, ...]:
    return tuple(index if a == axis else slice(None) for a in range(3))
