"""A ball decided anew from seeds: a random walk on the scan with the present segmentation as its prior.

Theory: a walker starts in each undecided voxel and steps to its neighbours with probabilities that fall with the
difference of their grey values; a voxel belongs to the side whose seeds it reaches first with the greater probability
(Grady 2006, IEEE PAMI 28:1768). Probabilities solve a Dirichlet problem with the weights

    w_ij = exp(-(I_i - I_j)^2 / (2 s^2)) / h_ij^2,

s being the typical difference of neighbours there. A prior p with weight g adds g (u - p) to the equation of each
voxel (Grady 2005, CVPR 1:763): far from the seed the present segmentation is believed, near it hardly. Voxels
beyond the reach keep what they are and are seeds themselves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.linalg import cg

from anatomy.segmentation.corrections.crop import Crop, Points

# The walk is solved on at most this many voxels; a finer scan is decided on a coarser grid and brought back.
_MOST_VOXELS = 60_000
_FLOOR = 1e-3
_PRIOR = 0.02
_SEED_MM = 2.0


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
    steps = _steps(crop, reach_mm)
    spacing = crop.spacing * steps
    coarse = tuple(slice(s // 2, None, s) for s in steps)
    smooth = ndimage.gaussian_filter(values.astype(np.float32), 0.35 * (steps - 1) + 0.4)
    away = _distance(crop, points_mm)
    # The seed is as large as the place is even: a dab that a person can hit, never across the scan's voxels.
    radius = max(_SEED_MM, float(spacing.max()) * 0.75)
    chance = _walk(smooth[coarse], mask[coarse], away[coarse], spacing, inside, reach_mm, radius)
    fine = on_voxels(chance, mask.shape, steps)
    # Where coarse voxels agree with what was there, the fine border stays as it was.
    before = on_voxels(mask[coarse].astype(np.float32), mask.shape, steps)
    moved = np.abs(fine - before) > 0.35 if (steps > 1).any() else np.ones(mask.shape, dtype=bool)
    decided = np.where(moved & (away <= reach_mm), fine > 0.5, mask)
    decided[away <= radius] = inside
    return _connected(decided, mask, away, inside, radius)


def _steps(crop: Crop, reach_mm: float) -> NDArray[np.int64]:
    """Every how many voxels along z, y, x the walk has a node, so that the ball has not too many."""
    ball = 4.19 * reach_mm**3
    edge = max((ball / _MOST_VOXELS) ** (1 / 3), float(crop.spacing.min()))
    return np.maximum(1, np.floor(edge / crop.spacing + 0.2)).astype(int)


def _distance(crop: Crop, points_mm: Points) -> NDArray[np.float32]:
    """Distance of every voxel of the box to the nearest point, mm."""
    axes = np.ogrid[tuple(slice(0, n) for n in crop.shape)]
    nearest = np.full(crop.shape, np.inf, dtype=np.float32)
    for place in crop.places(points_mm):
        offset = [(a - p) * e for a, p, e in zip(axes, place, crop.spacing, strict=True)]
        np.minimum(nearest, np.sqrt(sum(o * o for o in offset)), out=nearest)
    return nearest


def _walk(
    values: NDArray[np.float32],
    mask: NDArray[np.bool_],
    away: NDArray[np.float32],
    spacing: NDArray[np.float64],
    inside: bool,
    reach_mm: float,
    radius_mm: float,
) -> NDArray[np.float32]:
    """Probability of the structure in every node."""
    known = (away > reach_mm) | (away <= radius_mm)
    chance = np.where(away <= radius_mm, float(inside), mask).astype(np.float64)
    free = ~known
    if not free.any():
        return chance.astype(np.float32)
    first, second, weight = _edges(values, away <= 1.2 * reach_mm, spacing)
    n = mask.size
    number = np.full(n, -1)
    number[free.ravel()] = np.arange(np.count_nonzero(free))
    rows = np.concatenate([first, second])
    columns = np.concatenate([second, first])
    weights = np.concatenate([weight, weight])
    use = free.ravel()[rows]
    rows, columns, weights = rows[use], columns[use], weights[use]
    to_free = free.ravel()[columns]
    count = int(free.sum())
    # The prior's weight grows from the seed outwards: what the person pointed at is doubted most.
    prior = _PRIOR * np.clip(away[free] / reach_mm, 0.0, 1.0) ** 2
    diagonal = np.bincount(number[rows], weights, count) + prior
    right = prior * mask[free]
    right += np.bincount(
        number[rows[~to_free]], weights[~to_free] * chance.ravel()[columns[~to_free]], count
    )
    off = sparse.csr_matrix(
        (-weights[to_free], (number[rows[to_free]], number[columns[to_free]])), shape=(count, count)
    )
    matrix = off + sparse.diags(diagonal)
    solved, _ = cg(matrix, right, x0=mask[free].astype(float), rtol=1e-3, maxiter=400, M=sparse.diags(1 / diagonal))
    chance[free] = solved
    return chance.astype(np.float32)


def _edges(
    values: NDArray[np.float32], near: NDArray[np.bool_], spacing: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of neighbouring nodes and their weights; nearest neighbours weigh about 1."""
    index = np.arange(values.size).reshape(values.shape)
    firsts, seconds, jumps, lengths = [], [], [], []
    for axis in range(3):
        head = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        tail = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        both = near[head] & near[tail]
        firsts.append(index[head][both])
        seconds.append(index[tail][both])
        jumps.append((values[tail] - values[head])[both])
        lengths.append(np.full(len(firsts[-1]), (spacing.min() / spacing[axis]) ** 2))
    jump = np.concatenate(jumps).astype(np.float64)
    # Twice the median jump between neighbours: noise passes, borders of organs hold.
    typical = max(2.0 * float(np.median(np.abs(jump))) if jump.size else 1.0, 1e-6)
    weight = np.exp(-0.5 * (jump / typical) ** 2) + _FLOOR
    return np.concatenate(firsts), np.concatenate(seconds), weight * np.concatenate(lengths)


def on_voxels(
    coarse: NDArray[np.float32], shape: tuple[int, ...], steps: NDArray[np.int64]
) -> NDArray[np.float32]:
    """A field of nodes on every voxel, linear between nodes."""
    if (steps == 1).all():
        return coarse
    fine = coarse
    for axis, (size, step) in enumerate(zip(shape, steps, strict=True)):
        place = np.clip((np.arange(size) - step // 2) / step, 0, fine.shape[axis] - 1)
        low = np.minimum(place.astype(int), max(fine.shape[axis] - 2, 0))
        high = np.minimum(low + 1, fine.shape[axis] - 1)
        share = (place - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        fine = np.take(fine, low, axis) * (1 - share) + np.take(fine, high, axis) * share
    return fine


def _connected(
    decided: NDArray[np.bool_],
    mask: NDArray[np.bool_],
    away: NDArray[np.float32],
    inside: bool,
    radius_mm: float,
) -> NDArray[np.bool_]:
    """Only changes that touch the seed stay, and only in the sense that the seed asked for."""
    changed = (decided & ~mask) if inside else (mask & ~decided)
    seed = away <= radius_mm
    parts, _ = ndimage.label(changed | seed)
    touched = np.unique(parts[seed])
    kept = np.isin(parts, touched[touched > 0]) & changed
    return (mask | kept) if inside else (mask & ~kept)
