"""Dihedral angles of tetrahedra, and the moves that improve the worst of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_OPPOSITE = np.array([[0, 1, 2, 3], [0, 2, 1, 3], [0, 3, 1, 2], [1, 2, 0, 3], [1, 3, 0, 2], [2, 3, 0, 1]])


def dihedral_angles(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Dihedral angles (m, 6) in degrees of tetrahedra with corners (m, 4, 3)."""
    i, j, k, m = (corners[:, _OPPOSITE[:, n]] for n in range(4))
    axis = j - i
    axis = axis / np.linalg.norm(axis, axis=2, keepdims=True)
    p, q = k - i, m - i
    p = p - np.einsum("tec,tec->te", p, axis)[..., None] * axis
    q = q - np.einsum("tec,tec->te", q, axis)[..., None] * axis
    sine = np.linalg.norm(np.cross(p, q), axis=2)
    return np.degrees(np.arctan2(sine, np.einsum("tec,tec->te", p, q)))
