"""Resistance: what keeps a tetrahedron of the live tier from being crushed to nothing.

Nodal averaging leaves the volume of a single tetrahedron almost free, and the isochoric energy of most laws stays
finite as it vanishes. A sliver beside a cut or a pair of jaws could then be pressed to the smallest volume ratio that
is allowed, where every further step is refused and all of the tissue stands still. Below `RESISTS_BELOW`, the ratio
under which the reference tier takes nothing for a solution, each tetrahedron therefore resists with the energy

    b(J) = −K (J − J₀)² ln((J − J₁) / (J₀ − J₁)),    J₁ < J < J₀,

per stress-free volume, K its bulk modulus: nothing at J₀, with two continuous derivatives, and without bound at J₁ (the
barrier of Li et al. 2020, ACM Trans Graph 39:49, there between surfaces). States the reference tier would accept are
not touched.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

RESISTS_BELOW, NEVER_BELOW = 0.3, 0.1
# Rows and columns of the displacements in the upper triangle of a cell's 12 displacements and 4 pressures, row by row.
_UPPER = np.array([(i, j) for i in range(12) for j in range(i, 16)])
_MOVES = np.flatnonzero(_UPPER[:, 1] < 12)
_ROWS, _COLUMNS = _UPPER[_MOVES].T


def barrier(jacobian: Array) -> tuple[Array, Array, Array]:
    """The energy b / K and its first two derivatives, for volume ratios between the two bounds."""
    low, above = jacobian - RESISTS_BELOW, jacobian - NEVER_BELOW
    log = np.log(above / (RESISTS_BELOW - NEVER_BELOW))
    return (
        -(low**2) * log,
        -2 * low * log - low**2 / above,
        -2 * log - 4 * low / above + (low / above) ** 2,
    )


def resist(F: Array, J: Array, inverse: Array, weight: Array, tets: Ints, gradient: Array) -> float:
    """Add the forces of crushed tetrahedra; returns their energy.

    Parameters
    ----------
    F, inverse : ndarray, shape (k, 9), float64
        Deformation gradient, and gradients of the last three shape functions, row by row.
    J : ndarray, shape (k,)
        Between the two bounds.
    weight : ndarray, shape (k,)
        Bulk modulus times stress-free volume, µJ.
    tets : ndarray, shape (k, 4)
    gradient : ndarray, shape (n, 3)
        Added to, mN.
    """
    energy, slope, _ = barrier(J)
    pull = (weight * slope)[:, None, None] * _of_corners(F, inverse)
    np.add.at(gradient, tets, pull)
    return float(weight @ energy)


def stiffen(F: Array, J: Array, inverse: Array, weight: Array, entries: Ints, values: Array) -> None:
    """Add the positive part of the stiffness of crushed tetrahedra to values of the tangent.

    Parameters
    ----------
    F, J, inverse, weight
        As for `resist`.
    entries : ndarray, shape (k, 138)
        Place in `values` of each entry of a cell's upper triangle.
    values : ndarray
        Added to, mN/mm.
    """
    curvature = weight * barrier(J)[2]
    along = _of_corners(F, inverse).reshape(-1, 12)
    np.add.at(values, entries[:, _MOVES], curvature[:, None] * along[:, _ROWS] * along[:, _COLUMNS])


def _of_corners(F: Array, inverse: Array) -> Array:
    """Change of J with each displacement of a cell, cof F ∇N, shape (k, 4, 3)."""
    f, d = F.reshape(-1, 3, 3), inverse.reshape(-1, 3, 3)
    cofactor = np.stack(
        [np.cross(f[:, 1], f[:, 2]), np.cross(f[:, 2], f[:, 0]), np.cross(f[:, 0], f[:, 1])], axis=1
    )
    rest = np.einsum("kij,kvj->kvi", cofactor, d)
    return np.concatenate([-rest.sum(axis=1, keepdims=True), rest], axis=1)
