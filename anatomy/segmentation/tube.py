"""A great vessel followed through the slices: the best chain of discs, found by dynamic programming.

Every place and radius of an axial slice has a score: how much brighter the inside of a circle is than what lies just
outside, averaged over its circumference. The chain with the largest sum of scores, whose discs move and widen little
from slice to slice, is found exactly (Viterbi 1967, IEEE Trans Inf Theory 13:260), so that one unclear slice cannot
lead it astray.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Volume = NDArray[np.float32]

_ANGLES = 20
_REACH = 2


@numba.njit(cache=True)
def disc_scores(
    image: Volume, radii: NDArray[np.float64], step: float, half_px: float
) -> NDArray[np.float32]:
    """Scores of discs, shape (z, y, x, radius), -1 to 1.

    Parameters
    ----------
    image : ndarray, shape (z, y, x), float32
        Values.
    radii : ndarray, float64
        Radii in voxels.
    step : float
        The difference of values that counts as a full edge.
    half_px : float
        Half the distance between the inner and the outer circle, voxels.
    """
    nz, ny, nx = image.shape
    scores = np.full((nz, ny, nx, len(radii)), -1.0, dtype=np.float32)
    cosines = np.cos(2 * np.pi * np.arange(_ANGLES) / _ANGLES)
    sines = np.sin(2 * np.pi * np.arange(_ANGLES) / _ANGLES)
    for k in range(len(radii)):
        reach = int(radii[k] + half_px) + 2
        for z in range(nz):
            for y in range(reach, ny - reach):
                for x in range(reach, nx - reach):
                    total = 0.0
                    for a in range(_ANGLES):
                        inner = _at(
                            image,
                            z,
                            y + (radii[k] - half_px) * sines[a],
                            x + (radii[k] - half_px) * cosines[a],
                        )
                        outer = _at(
                            image,
                            z,
                            y + (radii[k] + half_px) * sines[a],
                            x + (radii[k] + half_px) * cosines[a],
                        )
                        total += min(1.0, max(-1.0, (inner - outer) / step))
                    scores[z, y, x, k] = total / _ANGLES
    return scores


@numba.njit(cache=True)
def _at(image: Volume, z: int, y: float, x: float) -> float:
    y0, x0 = int(y), int(x)
    fy, fx = y - y0, x - x0
    top = image[z, y0, x0] * (1 - fx) + image[z, y0, x0 + 1] * fx
    low = image[z, y0 + 1, x0] * (1 - fx) + image[z, y0 + 1, x0 + 1] * fx
    return top * (1 - fy) + low * fy


@numba.njit(cache=True)
def best_chain(scores: NDArray[np.float32], cost_per_voxel: float) -> NDArray[np.int64]:
    """The chain of discs with the largest sum of scores: (y, x, radius number) of each slice, shape (z, 3).

    Discs of neighbouring slices are at most two voxels and one radius apart and pay `cost_per_voxel` for moving.
    """
    nz, ny, nx, nr = scores.shape
    total = scores[0].copy()
    origin = np.zeros((nz, ny, nx, nr, 3), dtype=np.int8)
    for z in range(1, nz):
        new = np.empty_like(total)
        for y in range(ny):
            for x in range(nx):
                for r in range(nr):
                    best, by, bx, br = -1e9, 0, 0, 0
                    for dy in range(-_REACH, _REACH + 1):
                        for dx in range(-_REACH, _REACH + 1):
                            for dr in range(-1, 2):
                                if 0 <= y + dy < ny and 0 <= x + dx < nx and 0 <= r + dr < nr:
                                    pay = cost_per_voxel * (abs(dy) + abs(dx) + abs(dr))
                                    value = total[y + dy, x + dx, r + dr] - pay
                                    if value > best:
                                        best, by, bx, br = value, dy, dx, dr
                    new[y, x, r] = best + scores[z, y, x, r]
                    origin[z, y, x, r, 0], origin[z, y, x, r, 1], origin[z, y, x, r, 2] = by, bx, br
        total = new
    chain = np.zeros((nz, 3), dtype=np.int64)
    last = int(total.argmax())
    y, x, r = last // (nx * nr), (last // nr) % nx, last % nr
    for z in range(nz - 1, -1, -1):
        chain[z, 0], chain[z, 1], chain[z, 2] = y, x, r
        back = origin[z, y, x, r]
        y, x, r = y + back[0], x + back[1], r + back[2]
    return chain
