"""TopologyChange: what a cut or a removal makes of a mesh, and how everything that lives on the mesh follows.

A change leads from one conforming mesh to another. Every vertex of the new one lies on an edge of the old one (a
vertex itself, or a copy of it, is the case of an edge of no length), at the same share of that edge in every shape
of the organ: scanned, stress-free and deformed. Every tetrahedron of the new mesh is a part of one of the old. What
is known at vertices is therefore carried by one weighted sum, what is known of tetrahedra by one look-up, and no
listener has to know how the change was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh
from solver.errors import SolverError

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TopologyChange:
    """From one mesh to the next.

    Parameters
    ----------
    before, after : OrganMesh
        In the scanned shape, mm, LPS.
    parents : ndarray, shape (n', 2), int64
        Vertices of `before` between which each vertex of `after` lies; twice the same for a vertex that stays or is
        copied.
    weight : ndarray, shape (n',), float64
        Share of the way from the first parent to the second, 0 to 1.
    tet_parent : ndarray, shape (m',), int64
        Tetrahedron of `before` of which each tetrahedron of `after` is a part.
    raw : ndarray, shape (k, 3), int64
        Exterior facets of `after` that this change has laid open.
    cut_area_mm2 : float
        Area that was opened, counted once, in the scanned shape.
    """

    before: OrganMesh
    after: OrganMesh
    parents: Ints
    weight: Array
    tet_parent: Ints
    raw: Ints
    cut_area_mm2: float = 0.0

    def interpolate(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values at the vertices of `after`, shape (n', ...), from values at those of `before`, shape (n, ...).

        Numbers that count or name something, of an integer type, are not mixed: the nearer parent's is taken.
        """
        if not np.issubdtype(values.dtype, np.floating):
            return np.asarray(values[self.nearest])
        first, second = values[self.parents[:, 0]], values[self.parents[:, 1]]
        weight = self.weight.reshape(-1, *[1] * (values.ndim - 1))
        # Exactly the parent's value where a vertex stays: no rounding may creep in with every change.
        return np.where(weight == 0.0, first, (1.0 - weight) * first + weight * second)

    def of_tets(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values of the tetrahedra of `after`, shape (m', ...), from those of `before`, shape (m, ...)."""
        return values[self.tet_parent]

    @cached_property
    def copies(self) -> Ints:
        """Vertices of `after` that are a vertex of `before` or a copy of one."""
        return np.flatnonzero(self.parents[:, 0] == self.parents[:, 1])

    def vertices(self, before: Ints) -> Ints:
        """Vertices of `after` that are one of some vertices of `before`, or a copy of one; sorted."""
        wanted = np.zeros(len(self.before.points), dtype=bool)
        wanted[before] = True
        return self.copies[wanted[self.parents[self.copies, 0]]]

    @cached_property
    def nearest(self) -> Ints:
        """Vertex of `before` nearest to each vertex of `after` along their edge, shape (n',)."""
        return self.parents[np.arange(len(self.parents)), (self.weight > 0.5).astype(np.int64)]

    def carried_between(self, held: Ints) -> Ints:
        """Vertices of `after` that lie between some vertices of `before`, as what a tool holds; sorted.

        Parameters
        ----------
        held : ndarray, shape (k,), int64

        Returns
        -------
        ndarray, shape (k',), int64
            Those whose parents are both among them. A vertex that was moved along an edge to another stays; what
            was taken out is missing.
        """
        holds = np.zeros(len(self.before.points), dtype=bool)
        holds[held] = True
        between = holds[self.parents].all(axis=1)
        lost = holds.copy()
        lost[self.parents[between].ravel()] = False
        return np.flatnonzero(between | lost[self.nearest])

    def then(self, following: TopologyChange) -> TopologyChange:
        """This change and one after it that only copies vertices and takes tetrahedra away, as one change.

        Raises
        ------
        SolverError
            If the following change puts vertices on edges, or starts from another mesh.
        """
        if following.weight.any() or following.before is not self.after:
            raise SolverError("Only a change that takes pieces away can be joined to the cut before it.")
        source = following.parents[:, 0]
        return TopologyChange(
            self.before, following.after, self.parents[source], self.weight[source],
            self.tet_parent[following.tet_parent], np.concatenate([following.facets(self.raw), following.raw]),
            self.cut_area_mm2 + following.cut_area_mm2,
        )  # fmt: skip

    def facets(self, before: Ints) -> Ints:
        """Exterior facets of `after` that are parts of given exterior facets of `before`.

        Parameters
        ----------
        before : ndarray, shape (k, 3), int64
            Exterior triangles, in any winding.

        Returns
        -------
        ndarray, shape (k', 3), int64
            Wound as `after.exterior`; facets laid open by the change are never among them.
        """
        return self.after.exterior[self.facet_parts(before) >= 0]

    @cached_property
    def raw_rows(self) -> Ints:
        """Rows of `after.exterior` that the change has laid open."""
        count = len(self.after.points)
        return np.flatnonzero(np.isin(_keys(self.after.exterior, count), _keys(self.raw, count)))

    def parts_of(self, patches: Sequence[Ints]) -> list[Ints]:
        """Rows of `after.exterior` that are parts of each of several patches (k, 3) of exterior facets of `before`."""
        count = len(self.before.points)
        keys = _keys(self.before.exterior, count)
        order = np.argsort(keys)
        found = []
        for patch in patches:
            mine = np.zeros(len(keys) + 1, dtype=bool)  # the last is for facets that are part of none
            if len(patch):
                mine[order[np.searchsorted(keys[order], _keys(patch, count))]] = True
            found.append(np.flatnonzero(mine[self._owner]))
        return found

    def facet_parts(self, before: Ints) -> Ints:
        """For each exterior facet of `after`, the row of `before` it is a part of, −1 where there is none."""
        count = len(self.before.points)
        owner = self._owner
        exterior = self.before.exterior
        rows = _lookup(_keys(before, count), _keys(exterior, count))
        return np.where(owner >= 0, rows[np.maximum(owner, 0)], -1)

    @cached_property
    def _owner(self) -> Ints:
        """For each exterior facet of `after`, the exterior facet of `before` it is a part of, −1 if none."""
        after, before = self.after, self.before
        tet = self.tet_parent[after.exterior_tets]
        # All parents of a part of a facet are vertices of that facet: at most one facet of the tetrahedron has
        # them all, unless they span an edge only, which the three corners of a triangle cannot.
        parents = self.parents[after.exterior].reshape(len(after.exterior), 6)
        owner = np.full(len(after.exterior), -1, dtype=np.int64)
        order = np.argsort(before.exterior_tets, kind="stable")
        sorted_tets = before.exterior_tets[order]
        first = np.searchsorted(sorted_tets, tet)
        for step in range(4):
            at = first + step
            inside = (at < len(order)) & (sorted_tets[np.minimum(at, len(order) - 1)] == tet)
            facet = order[np.minimum(at, len(order) - 1)]
            corners = before.exterior[facet]
            has = (parents[:, :, None] == corners[:, None, :]).any(axis=2).all(axis=1)
            owner = np.where(inside & has & (owner < 0), facet, owner)
        return owner


def _keys(facets: Ints, count: int) -> Ints:
    low = np.sort(facets, axis=1).astype(np.int64)
    return (low[:, 0] * count + low[:, 1]) * count + low[:, 2]


def _lookup(wanted: Ints, among: Ints) -> Ints:
    """For each key of `among` the row of `wanted` with that key, or −1."""
    if not len(wanted):
        return np.full(len(among), -1, dtype=np.int64)
    order = np.argsort(wanted, kind="stable")
    at = np.minimum(np.searchsorted(wanted[order], among), len(order) - 1)
    return np.where(wanted[order[at]] == among, order[at], -1)
