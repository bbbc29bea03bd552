"""The neighbourhood of seeds decided anew: what looks like the seed near the seed, bound by a short edge-bound surface.

Theory: the region minimises the convex energy of `anatomy.segmentation.region` with the cost

    f(x) = p(x) (1 - r(x)) - s * r(x) * l(x),      r(x) = exp(-(d(x) / (reach / 2))^2 / 2),

d being the distance to the nearest seed, s = +1 for seeds inside and -1 outside, p = -1 where the structure is now, +1
elsewhere, and l = 1 - (I - m)^2 / (3 n)^2, clipped to -1..1, how alike the voxel is to the seed's grey value m with the
noise n of the neighbourhood. Near a seed the present segmentation counts for nothing and likeness for all; far from
it the reverse. Only changes in the seed's own sense, connected with it and within its reach, are kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from anatomy.segmentation import region
from anatomy.segmentation.corrections.crop import Crop, Points

# The energy is minimised on at most this many nodes; a finer scan is decided on a coarser grid and brought back.
_MOST_NODES = 70_000
_SEED_MM = 2.0
_ALIKE = 3.0
_WEIGHT_PER_MM = 0.12
_ITERATIONS = 100


def decide(
    crop: Crop,
    values: NDArray[Any],
    mask: NDArray[np.bool_],
    points_mm: Points,
    inside: bool,
    reach_mm: float,
) -> NDArray[np.bool_]:
    """Where the structure is after a seed.

    Parameters
    ----------
    crop : Crop
        The box of the arrays.
    values : ndarray, shape (z, y, x)
        The scan in the box.
    mask : ndarray, shape (z, y, x), bool
        Where the structure is now.
    points_mm : sequence of (x, y, z)
        The seed's points, LPS mm.
    inside : bool
        Whether they belong to the structure.
    reach_mm : float
        Beyond this distance from the points nothing changes.

    Returns
    -------
    ndarray, shape (z, y, x), bool
    """
    steps = node_steps(crop, _MOST_NODES)
    edges = crop.spacing * steps
    nodes = tuple(slice(s // 2, None, s) for s in steps)
    smooth = ndimage.gaussian_filter(on_nodes(values, steps), 1.0 / edges)
    away = _distance(crop, points_mm)
    radius = max(_SEED_MM, 0.75 * float(edges.max()))
    cost, edge = _costs(smooth, mask[nodes], away[nodes], inside, reach_mm, radius, edges)
    level = mask[nodes].astype(np.float32)
    before = on_voxels(level, mask.shape, steps)
    region.minimise(cost, edge, level, _WEIGHT_PER_MM * float(edges.min()), _ITERATIONS)
    after = on_voxels(level, mask.shape, steps)
    # Where the nodes kept what was there, so does the finer border.
    moved = np.abs(after - before) > 0.35 if (steps > 1).any() else np.ones(mask.shape, dtype=bool)
    decided = np.where(moved & (away <= reach_mm), after > 0.5, mask)
    decided[away <= radius] = inside
    return _connected(decided, mask, away <= radius, inside)


def _costs(
    values: NDArray[np.float32],
    mask: NDArray[np.bool_],
    away: NDArray[np.float32],
    inside: bool,
    reach_mm: float,
    radius_mm: float,
    edges: NDArray[np.float64],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cost of every node inside, and the weight of a border there."""
    sense = 1.0 if inside else -1.0
    ours = values[away <= max(radius_mm, 1.5 * _SEED_MM)]
    near = away <= reach_mm
    jump = np.concatenate([np.abs(np.diff(values, axis=a))[_cut(near, a)] for a in range(3)])
    noise = max(1.5 * float(np.median(jump)), float(ours.std()), 1e-6)
    alike = np.clip(1.0 - ((values - np.median(ours)) / (_ALIKE * noise)) ** 2, -1.0, 1.0)
    trust = np.exp(-0.5 * (away / (0.5 * reach_mm)) ** 2)
    cost = np.where(mask, -1.0, 1.0) * (1.0 - trust) - sense * 2.0 * trust * alike
    cost[away <= radius_mm] = -sense * 20.0
    cost[away > reach_mm] = np.where(mask, -5.0, 5.0)[away > reach_mm]
    slope = np.sqrt(sum(g**2 for g in np.gradient(values)))
    edge = np.maximum(np.exp(-0.5 * (slope / (2.0 * noise)) ** 2), 0.05)
    return cost.astype(np.float32), edge.astype(np.float32)


def _cut(near: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    return np.delete(near, 0, axis)


def _distance(crop: Crop, points_mm: Points) -> NDArray[np.float32]:
    """Distance of every voxel of the box to the nearest point, mm."""
    axes = np.ogrid[tuple(slice(0, n) for n in crop.shape)]
    nearest = np.full(crop.shape, np.inf, dtype=np.float32)
    for place in crop.places(points_mm):
        offset = [(a - p) * e for a, p, e in zip(axes, place, crop.spacing, strict=True)]
        np.minimum(nearest, np.sqrt(sum(o * o for o in offset)), out=nearest)
    return nearest


def _connected(
    decided: NDArray[np.bool_], mask: NDArray[np.bool_], seed: NDArray[np.bool_], inside: bool
) -> NDArray[np.bool_]:
    """Only changes that touch the seed stay, and only in the sense that the seed asked for."""
    changed = (decided & ~mask) if inside else (mask & ~decided)
    parts, _ = ndimage.label(changed | seed)
    touched = np.unique(parts[seed])
    kept = np.isin(parts, touched[touched > 0]) & changed
    return (mask | kept) if inside else (mask & ~kept)


def node_steps(crop: Crop, most: int) -> NDArray[np.int64]:
    """Every how many voxels along z, y, x there is a node, so that the box has not too many."""
    volume = float(np.prod(crop.spacing) * np.prod(crop.shape))
    edge = max((volume / most) ** (1 / 3), float(crop.spacing.min()))
    return np.maximum(1, np.floor(edge / crop.spacing + 0.2)).astype(int)


def on_nodes(values: NDArray[Any], steps: NDArray[np.int64]) -> NDArray[np.float32]:
    """Means of the voxels around each node, float32."""
    if (steps == 1).all():
        return values.astype(np.float32)
    missing = [(0, int(-n % s)) for n, s in zip(values.shape, steps, strict=True)]
    padded = np.pad(values, missing, mode="edge").astype(np.float32)
    split = [k for n, s in zip(padded.shape, steps, strict=True) for k in (n // s, s)]
    means = padded.reshape(split).mean(axis=(1, 3, 5))
    nodes = tuple(len(range(int(s) // 2, n, int(s))) for n, s in zip(values.shape, steps, strict=True))
    return np.ascontiguousarray(means[tuple(map(slice, nodes))])


def on_voxels(
    nodes: NDArray[np.float32], shape: tuple[int, ...], steps: NDArray[np.int64]
) -> NDArray[np.float32]:
    """A field of nodes on every voxel of the box, linear between nodes."""
    fine = nodes
    for axis, (size, step) in enumerate(zip(shape, steps, strict=True)):
        if step == 1:
            continue
        place = np.clip((np.arange(size) - step // 2) / step, 0, fine.shape[axis] - 1)
        low = np.minimum(place.astype(int), max(fine.shape[axis] - 2, 0))
        high = np.minimum(low + 1, fine.shape[axis] - 1)
        share = (place - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        fine = np.take(fine, low, axis) * (1 - share) + np.take(fine, high, axis) * share
    return fine.copy() if fine is nodes else fine
