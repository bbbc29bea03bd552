"""The background lattice: tetrahedra of a body-centred cubic lattice, graded by an octree.

Vertices are the corners and centres of the octree's leaves. Two leaves of one size that share a face give four
tetrahedra around the line between their centres, one for each edge of the face (each split in two where a
smaller leaf put a vertex on that edge). Where a leaf meets four of half its size, the small faces are cut along
the diagonal through the big face's centre and each triangle is joined to both centres. This is the lattice of
Labelle & Shewchuk (2007, section 3), with dihedral angles from 45° to 120° (60° and 90° where it is uniform).
Leaves that touch, even in a corner, differ by at most one level, so an edge never carries more than one extra
vertex. Coordinates are whole numbers in units of half the finest leaf; `Octree.to_mm` places them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class Octree:
    """Leaves of a balanced octree over a block of cubes.

    Attributes
    ----------
    leaves : list of ndarray of bool, shape (nx, ny, nz) · 2^level
        Where the leaves of each level are, coarse to fine.
    split : list of ndarray of bool
        Where the cubes of each level are subdivided.
    origin : ndarray, shape (3,)
        Corner of the block, mm LPS.
    edge_mm : float
        Edge of the coarsest cubes.
    """

    leaves: list[NDArray[np.bool_]]
    split: list[NDArray[np.bool_]]
    origin: NDArray[np.float64]
    edge_mm: float

    @property
    def unit_mm(self) -> float:
        """Length of one lattice unit: half the edge of the finest cubes."""
        return self.edge_mm / 2 ** len(self.leaves)

    def to_mm(self, lattice: NDArray[np.int64]) -> NDArray[np.float64]:
        """Positions of lattice coordinates, mm LPS."""
        return self.origin + lattice * self.unit_mm


def balanced(
    wanted: list[NDArray[np.bool_]], active: NDArray[np.bool_], origin: NDArray[np.float64], edge_mm: float
) -> Octree:
    """The coarsest balanced octree in which every wanted cube exists.

    Parameters
    ----------
    wanted : list of ndarray of bool
        For each level, coarse to fine, the cubes that must not be part of a larger leaf; level 0 is ignored.
    active : ndarray of bool, shape of level 0
        Cubes of level 0 to cover.
    origin, edge_mm
        Corner of the block and edge of the cubes of level 0.
    """
    levels = len(wanted)
    split = [np.zeros_like(w) for w in wanted]
    need = wanted[-1].copy()
    for level in range(levels - 1, 0, -1):
        split[level - 1] = _coarser(need)
        need = wanted[level - 1] | binary_dilation(split[level - 1], _NEIGHBOURS)
    node = active | need
    leaves = []
    for level in range(levels):
        split[level] &= node
        leaves.append(node & ~split[level])
        if level + 1 < levels:
            node = _finer(split[level])
    return Octree(leaves, split, origin, edge_mm)


def _coarser(cubes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    x, y, z = (n // 2 for n in cubes.shape)
    return cubes.reshape(x, 2, y, 2, z, 2).any(axis=(1, 3, 5))


def _finer(cubes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return cubes.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)


def tetrahedra(octree: Octree) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The lattice of an octree.

    Returns
    -------
    vertices : ndarray, shape (n, 3), int64
        Lattice coordinates, in lexical order.
    tets : ndarray, shape (m, 4), int64
        Positively oriented, conforming.
    """
    finest = len(octree.leaves) - 1
    corners = []
    for level in range(finest + 1):
        half = 1 << (finest - level)
        for axis in range(3):
            corners.append(_between_equals(octree.leaves[level], octree.split[level], half, axis))
            if level:
                for side in (-1, 1):
                    corners.append(
                        _between_levels(octree.leaves[level], octree.leaves[level - 1], half, axis, side)
                    )
    corner = np.concatenate(corners)
    extent = corner.max() + 1
    keys = (corner[..., 0] * extent + corner[..., 1]) * extent + corner[..., 2]
    unique, tets = np.unique(keys, return_inverse=True)
    vertices = np.stack([unique // extent**2, unique // extent % extent, unique % extent], axis=1)
    tets = tets.reshape(-1, 4)
    a, b, c, d = (vertices[tets[:, i]] for i in range(4))
    inverted = np.einsum("ij,ij->i", b - a, np.cross(c - a, d - a)) < 0
    tets[inverted] = tets[inverted][:, [1, 0, 2, 3]]
    return vertices, tets


def _between_equals(
    leaves: NDArray[np.bool_], split: NDArray[np.bool_], half: int, axis: int
) -> NDArray[np.int64]:
    """Tetrahedra (m, 4, 3) around the lines between centres of face neighbours of one size along an axis."""
    ahead = [slice(None)] * 3
    behind = [slice(None)] * 3
    ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
    cube = np.argwhere(leaves[tuple(behind)] & leaves[tuple(ahead)])
    step = np.eye(3, dtype=np.int64)
    first = half * (2 * cube + 1)
    second = first + 2 * half * step[axis]
    middle = first + half * step[axis]
    padded = np.pad(split, 1)
    out = []
    for u, v in (((axis + 1) % 3, (axis + 2) % 3), ((axis + 2) % 3, (axis + 1) % 3)):
        for side in (-1, 1):
            across = cube + side * step[u] + 1
            smaller = padded[tuple(across.T)] | padded[tuple((across + step[axis]).T)]
            centre = middle + side * half * step[u]
            low, high = centre - half * step[v], centre + half * step[v]
            whole = ~smaller
            out.append(np.stack([first, second, low, high], axis=1)[whole])
            out.append(np.stack([first, second, low, centre], axis=1)[smaller])
            out.append(np.stack([first, second, centre, high], axis=1)[smaller])
    return np.concatenate(out)


def _between_levels(
    small: NDArray[np.bool_], big: NDArray[np.bool_], half: int, axis: int, side: int
) -> NDArray[np.int64]:
    """Tetrahedra (m, 4, 3) between small leaves and the twice larger leaf on one side of them along an axis."""
    cube = np.argwhere(small)
    step = np.eye(3, dtype=np.int64)
    other = (cube + side * step[axis]) >> 1
    inside = ((other >= 0) & (other < big.shape)).all(axis=1)
    cube, other = cube[inside], other[inside]
    meets = big[tuple(other.T)]
    cube, other = cube[meets], other[meets]
    centre = half * (2 * cube + 1)
    big_centre = 2 * half * (2 * other + 1)
    # The big face's centre is the corner of the small face with odd coordinates; the sign points to it.
    u, v = step[(axis + 1) % 3], step[(axis + 2) % 3]
    sign = 1 - 2 * (cube & 1)
    to_u, to_v = (sign @ u)[:, None] * half * u, (sign @ v)[:, None] * half * v
    face = centre + side * half * step[axis]
    inner, outer = face + to_u + to_v, face - to_u - to_v
    out = []
    for third in (face + to_u - to_v, face - to_u + to_v):
        out.append(np.stack([centre, inner, outer, third], axis=1))
        out.append(np.stack([big_centre, inner, outer, third], axis=1))
    return np.concatenate(out)
