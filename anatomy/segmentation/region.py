"""The region of least cost with a short, edge-bound surface: convex segmentation by total variation.

Theory: a region that minimises (cost of the voxels inside) + (weighted area of its surface) is the 0.5 level set of
the minimiser over 0 <= u <= 1 of

    E(u) = sum_x  g(x) |grad u|(x) + weight * f(x) * u(x)

(Chan, Esedoglu & Nikolova 2006, SIAM J Appl Math 66:1632), where f < 0 favours inside and the edge weight g is
small where the image has an edge (Bresson et al. 2007, J Math Imaging Vis 28:151). The problem is convex, so no start
can trap it. It is solved by the primal-dual steps of Chambolle & Pock (2011, J Math Imaging Vis 40:120) with
step 1/sqrt(12), the reciprocal norm of the forward-difference gradient in three dimensions.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Volume = NDArray[np.float32]

_STEP = np.float32(1.0 / np.sqrt(12.0))


@numba.njit(cache=True)
def minimise(cost: Volume, edge: Volume, u: Volume, weight: float, iterations: int) -> float:
    """Move `u` towards the minimiser, in place; returns the mean change of the last iteration.

    Parameters
    ----------
    cost, edge, u : ndarray, shape (z, y, x), float32
        f, g and the present u (0 to 1), all of one shape; `u` is overwritten.
    weight : float
        Weight of the cost against the surface; both are per voxel.
    iterations : int
        Primal-dual iterations.
    """
    dual = np.zeros((3, *cost.shape), dtype=np.float32)
    ahead = u.copy()
    change = 0.0
    for _ in range(iterations):
        _raise_dual(dual, ahead, edge)
        change = _lower_primal(dual, ahead, u, cost, np.float32(weight))
    return change


@numba.njit(cache=True)
def _raise_dual(dual: NDArray[np.float32], ahead: Volume, edge: Volume) -> None:
    """Ascend the dual field and project it on balls of radius g."""
    nz, ny, nx = ahead.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                here = ahead[z, y, x]
                a, b, c = dual[0, z, y, x], dual[1, z, y, x], dual[2, z, y, x]
                if x + 1 < nx:
                    a += _STEP * (ahead[z, y, x + 1] - here)
                if y + 1 < ny:
                    b += _STEP * (ahead[z, y + 1, x] - here)
                if z + 1 < nz:
                    c += _STEP * (ahead[z + 1, y, x] - here)
                norm = np.sqrt(a * a + b * b + c * c)
                scale = np.float32(1.0)
                if norm > edge[z, y, x]:
                    scale = edge[z, y, x] / norm
                dual[0, z, y, x], dual[1, z, y, x], dual[2, z, y, x] = a * scale, b * scale, c * scale


@numba.njit(cache=True)
def _lower_primal(
    dual: NDArray[np.float32], ahead: Volume, u: Volume, cost: Volume, weight: np.float32
) -> float:
    """Descend u, clip it to 0..1, and extrapolate it for the next dual step."""
    nz, ny, nx = u.shape
    change = 0.0
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                divergence = dual[0, z, y, x] + dual[1, z, y, x] + dual[2, z, y, x]
                if x > 0:
                    divergence -= dual[0, z, y, x - 1]
                if y > 0:
                    divergence -= dual[1, z, y - 1, x]
                if z > 0:
                    divergence -= dual[2, z - 1, y, x]
                old = u[z, y, x]
                new = old + _STEP * (divergence - weight * cost[z, y, x])
                new = min(max(new, np.float32(0.0)), np.float32(1.0))
                change += abs(new - old)
                u[z, y, x] = new
                ahead[z, y, x] = 2 * new - old
    return change / u.size
