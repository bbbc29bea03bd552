"""CarriedTree: a vessel tree that rides on the tissue, and what clamps and cuts have made of it.

Vessels are thinner than tetrahedra, so a tree is a graph of centreline nodes with calibre, each of which rides on the
tetrahedron it lies in with its barycentric weights (`anatomy.embedding`); a node outside the mesh, such as the trunk
at the hilum, rides on the nearest one. A node stands for the piece of vessel that leads to it from its parent. A
piece is *closed* by a clamp on it, by a division, or because it has left the body with a specimen; what lies behind
a closed piece, seen from the root, is cut off from the root.

A change of topology divides the pieces that cross a face it has laid open. Cut faces are looked at in the scanned
shape, where both sides of a cut coincide and no node ever moves: so it does not matter how the tissue is pulled,
how the cut was made, or whether it goes all the way through. The tree is a value: acts replace it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anatomy.embedding import Embedding
from anatomy.mesh import OrganMesh
from solver.errors import SolverError
from solver.point_location import INSIDE, part_of, pierced, relocated
from solver.topology import TopologyChange

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

# A crossing this little outside a triangle (barycentric) still counts: the way must not slip between two triangles.
_EDGE = 1e-9
# An instrument that is farther than this from every centreline takes no vessel, mm.
REACH_MM = 15.0
_NEAR_MM = 1e-6


@dataclass(frozen=True, eq=False)
class CarriedTree:
    """A vessel tree on an organ's mesh. `CarriedTree.embed` makes one.

    Parameters
    ----------
    system : str
        Structure name of the vessel system, such as "portal_vein".
    outflow : bool
        Whether it drains the organ; otherwise it feeds it.
    scanned : ndarray, shape (n, 3), float64
        Nodes in the scanned shape, mm, LPS.
    radius : ndarray, shape (n,), float64
        Radius of the vessel from each node's parent to the node, mm.
    parent : ndarray, shape (n,), int64
        Row of each node's parent, smaller than its own; −1 at a root.
    tet : ndarray, shape (n,), int64
        Tetrahedron of the present mesh that carries each node; −1 where it has left the body.
    corners : ndarray, shape (n, 4), int64
        That tetrahedron's vertices.
    weights : ndarray, shape (n, 4), float64
        Barycentric weights in it.
    offset : ndarray, shape (n, 3), float64
        What a node far outside the mesh is shifted by, mm.
    clamps : tuple of (str, int)
        Clamps on it: name and node.
    divided : frozenset of int
        Nodes whose piece is cut through.
    """

    system: str
    outflow: bool
    scanned: Array
    radius: Array
    parent: Ints
    tet: Ints
    corners: Ints
    weights: Array
    offset: Array
    clamps: tuple[tuple[str, int], ...] = ()
    divided: frozenset[int] = field(default_factory=frozenset)

    @classmethod
    def embed(
        cls,
        organ: OrganMesh,
        system: str,
        points: ArrayLike,
        radius: ArrayLike,
        parent: ArrayLike,
        outflow: bool = False,
    ) -> CarriedTree:
        """Let a tree ride on a mesh; arguments as of the class, both in the scanned shape.

        Raises
        ------
        SolverError
            If the arrays do not fit together or a parent does not come before its child.
        """
        scanned, own = np.asarray(points, dtype=np.float64), np.asarray(radius, dtype=np.float64)
        up = np.asarray(parent, dtype=np.int64)
        n = len(up)
        if not n or scanned.shape != (n, 3) or own.shape != (n,):
            raise SolverError(f"The tree of {system} needs points (n, 3), radius (n,) and parent (n,).")
        if (up >= np.arange(n)).any() or (up < -1).any():
            raise SolverError(
                f"In the tree of {system} a parent does not come before its child, or is below −1."
            )
        ride = Embedding(organ, scanned)
        corners = np.asarray(organ.tets[ride.tet], dtype=np.int64)
        offset = scanned - np.einsum("nk,nkd->nd", ride.weights, organ.points[corners])
        offset[ride.outside_mm == 0.0] = 0.0
        return cls(system, outflow, scanned, own, up, ride.tet, corners, ride.weights, offset)

    @classmethod
    def pedicle(cls, system: str) -> CarriedTree:
        """All inflow of an organ whose vessels are not known: a tree of one node, which is nowhere to be seen."""
        nowhere = np.full((1, 3), np.nan)
        none = np.zeros(1, dtype=np.int64)
        return cls(system, False, nowhere, np.zeros(1), none - 1, none, np.zeros((1, 4), dtype=np.int64),
                   np.full((1, 4), np.nan), nowhere)  # fmt: skip

    @property
    def seen(self) -> bool:
        """Whether it is known where the vessels run."""
        return bool(np.isfinite(self.scanned).all())

    def __len__(self) -> int:
        return len(self.parent)

    # ------------------------------------------------------------------ where it is

    def points(self, positions: Array) -> Array:
        """Nodes when the mesh's vertices are at `positions` (n, 3) mm; NaN where they have left the body."""
        moved = np.einsum("nk,nkd->nd", self.weights, positions[self.corners]) + self.offset
        moved[~self.present] = np.nan
        return np.asarray(moved)

    @property
    def present(self) -> Mask:
        """Nodes that are in the body, shape (n,)."""
        return self.tet >= 0

    @property
    def outside(self) -> Mask:
        """Nodes that do not lie in the mesh but ride on its nearest place, shape (n,)."""
        return (self.weights.min(axis=1) < -INSIDE) | self.offset.any(axis=1)

    @property
    def roots(self) -> Ints:
        """Nodes at which the tree begins."""
        return np.flatnonzero(self.parent < 0)

    @cached_property
    def length_mm(self) -> Array:
        """Length of each node's piece in the scanned shape, mm, shape (n,); 0 at roots."""
        length = np.linalg.norm(self.scanned - self.scanned[np.maximum(self.parent, 0)], axis=1)
        return np.where(self.parent >= 0, length, 0.0)

    @cached_property
    def lumen_mm(self) -> Array:
        """Radius of each piece, no narrower than what it feeds, mm, shape (n,).

        Where the tree says otherwise, two forks lie too close together to measure the piece between them.
        """
        radius = self.radius.copy()
        for row in range(len(self) - 1, -1, -1):
            if self.parent[row] >= 0:
                radius[self.parent[row]] = max(radius[self.parent[row]], radius[row])
        return radius

    def calibre_mm(self, node: int) -> float:
        """Diameter of a node's piece, mm."""
        return 2.0 * float(self.lumen_mm[node])

    def nearest(self, point_mm: ArrayLike, positions: Array) -> tuple[int, float]:
        """Piece of vessel in the body nearest to a point of the present shape, by its node.

        Parameters
        ----------
        point_mm : array-like, shape (3,)
            LPS millimetres.
        positions : ndarray, shape (n, 3)
            Where the mesh's vertices are, mm.

        Returns
        -------
        node : int
        distance_mm : float
            From the point to the centreline; infinite where nothing of the tree is left.
        """
        points, point = self.points(positions), np.asarray(point_mm, dtype=np.float64)
        whole = self.present & self.present[self.parent] & (self.parent >= 0)
        start = np.where(whole[:, None], points[np.maximum(self.parent, 0)], points)
        way = points - start
        along = np.einsum("nd,nd->n", point - start, way) / np.maximum(
            np.einsum("nd,nd->n", way, way), 1e-300
        )
        gap = np.linalg.norm(start + np.clip(along, 0.0, 1.0)[:, None] * way - point, axis=1)
        gap[~self.present] = np.inf
        # A root is the beginning of its children's pieces, which are what can be taken hold of.
        gap[(self.parent < 0) & np.isin(np.arange(len(self)), self.parent)] = np.inf
        node = int(np.argmin(gap))
        return node, float(gap[node])

    # ------------------------------------------------------------------ what is open

    @property
    def clamped(self) -> frozenset[int]:
        """Nodes whose piece is closed by a clamp."""
        return frozenset(node for _, node in self.clamps)

    @cached_property
    def closed(self) -> Mask:
        """Pieces that let no blood through, shape (n,)."""
        shut = ~self.present | (~self.present[self.parent] & (self.parent >= 0))
        shut[list(self.clamped | self.divided)] = True
        return shut

    @cached_property
    def barrier(self) -> Ints:
        """For each node the first closed piece on its way to the root, its own included; −1 where there is none."""
        here = np.arange(len(self))
        step = np.where(self.closed | (self.parent < 0), here, self.parent)
        # Each round doubles the way: a tree of n nodes is done after log2 n of them.
        while True:
            further = step[step]
            if np.array_equal(further, step):
                break
            step = further
        return np.where(self.closed[step], step, -1)

    @property
    def flowing(self) -> Mask:
        """Nodes that are joined to the root, so that blood flows to (or from) them, shape (n,)."""
        return self.barrier < 0

    def beyond(self, node: int) -> Mask:
        """A node and everything that it feeds (or that drains through it), shape (n,)."""
        found = np.zeros(len(self), dtype=bool)
        found[node] = True
        for row in range(node + 1, len(self)):
            found[row] = self.parent[row] >= 0 and found[self.parent[row]]
        return found

    def gathered(self, values: Array) -> Array:
        """Sum of a value over each node and everything beyond it, shape (n,)."""
        total = np.array(values, dtype=np.float64)
        for row in range(len(total) - 1, -1, -1):
            if self.parent[row] >= 0:
                total[self.parent[row]] += total[row]
        return total

    def way(self, node: int) -> Ints:
        """Nodes from one to its root, both included."""
        found = [node]
        while self.parent[found[-1]] >= 0:
            found.append(int(self.parent[found[-1]]))
        return np.array(found)

    # ------------------------------------------------------------------ other trees from this one

    def with_clamp(self, name: str, nodes: Iterable[int]) -> CarriedTree:
        """The tree with a clamp on some pieces."""
        return replace(self, clamps=(*self.clamps, *((name, int(node)) for node in nodes)))

    def without_clamp(self, name: str) -> CarriedTree:
        """The tree after a clamp was opened."""
        return replace(self, clamps=tuple(clamp for clamp in self.clamps if clamp[0] != name))

    def with_division(self, nodes: Iterable[int]) -> CarriedTree:
        """The tree with some more pieces cut through."""
        return replace(self, divided=self.divided | {int(node) for node in nodes})

    def crossed(self, points: Array, triangles: Ints, nodes: Array | None = None) -> Ints:
        """Pieces that a triangulated surface cuts through.

        Parameters
        ----------
        points : ndarray, shape (k, 3), float64
            mm.
        triangles : ndarray, shape (t, 3), int64
        nodes : ndarray, shape (n, 3), float64, optional
            Where the nodes are in the shape in which the surface is given; the scanned one by default.

        Returns
        -------
        ndarray, int64
            Their nodes, ascending.
        """
        at = self.scanned if nodes is None else nodes
        rows = np.flatnonzero((self.parent >= 0) & self.present & self.present[self.parent])
        if not len(rows) or not len(triangles):
            return np.zeros(0, dtype=np.int64)
        return rows[pierced(at[self.parent[rows]], at[rows], points[triangles])]

    def carried(self, change: TopologyChange) -> CarriedTree:
        """The tree on the mesh after a change; pieces that cross a face it laid open are divided."""
        if not self.seen:
            return self
        crossed = self.crossed(change.after.points, change.raw)
        here = np.flatnonzero(self.present)
        tet, weights, offset = relocated(
            change, self.tet[here], self.scanned[here], self.weights[here], self.offset[here]
        )
        now = self.tet.copy()
        now[here] = tet
        corners, share, shift = self.corners.copy(), self.weights.copy(), self.offset.copy()
        corners[here] = change.after.tets[np.maximum(tet, 0)]
        share[here], shift[here] = weights, offset
        corners[now < 0] = 0
        # Ends that no longer hang together are cut apart, whether or not the faces tell: outside the organ they do not.
        up = np.maximum(self.parent, 0)
        there = (self.parent >= 0) & self.present & self.present[up]
        torn = there & ((now < 0) != (now[up] < 0))
        outside = np.flatnonzero(there & (self.outside | self.outside[up]))
        if len(change.raw) and len(outside):
            was, part = part_of(change.before, self.tet), part_of(change.after, now)
            torn[outside] |= ((now >= 0) & (now[up] >= 0) & (was == was[up]) & (part != part[up]))[outside]
        divided = self.divided | {int(node) for node in crossed} | {int(n) for n in np.flatnonzero(torn)}
        return replace(self, tet=now, corners=corners, weights=share, offset=shift, divided=divided)

    def digest(self) -> bytes:
        """SHA-256 of what was done to it and where it is."""
        found = hashlib.sha256(self.system.encode())
        found.update(repr((self.clamps, sorted(self.divided))).encode())
        found.update(np.ascontiguousarray(self.tet).tobytes())
        return found.digest()


def pedicle_of(organ: str) -> str:
    """Name under which all inflow of an organ whose vessels are not known stands among vessel systems."""
    return f"{organ}_pedicle"


def find_piece(
    vessels: Mapping[str, CarriedTree],
    positions: Array,
    what: str,
    system: str | None = None,
    point_mm: ArrayLike | None = None,
    node: int | None = None,
) -> tuple[str, int]:
    """The piece of vessel that a person means: the one nearest to a point, or a node of a system.

    Parameters
    ----------
    vessels : mapping of str to CarriedTree
    positions : ndarray, shape (n, 3)
        Where the mesh's vertices are, mm.
    what : str
        What is to be done to it, for messages: "clamp".
    system : str, optional
        Only vessels of this system; needed with `node`.
    point_mm : array-like, shape (3,), optional
        Point of the present shape, LPS mm.
    node : int, optional

    Returns
    -------
    system, node

    Raises
    ------
    SolverError
        If there are no vessels, none of that system or number, or none within `REACH_MM` of the point.
    """
    if not any(tree.seen for tree in vessels.values()):
        raise SolverError(
            f"There are no vessels to {what}: the case was built without vessel trees; build it with "
            "portal_vein and hepatic_vein among its structures."
        )
    if system is not None and system not in vessels:
        raise SolverError(
            f"There is no vessel system '{system}' to {what}; there are {', '.join(sorted(vessels))}."
        )
    if node is not None and system is not None:
        tree = vessels[system]
        if not (0 <= node < len(tree) and tree.present[node]):
            raise SolverError(
                f"The tree of {system} has no node {node} in the body to {what}; it has 0 to {len(tree) - 1}."
            )
        return system, int(node)
    if point_mm is None:
        raise SolverError(f"To {what} a vessel, give 'point_mm', or 'system' with 'node'.")
    trees = vessels if system is None else {system: vessels[system]}
    trees = {name: tree for name, tree in trees.items() if tree.seen}
    if not trees:
        raise SolverError(
            f"It is not known where vessels of {system} run; name the 'organ' to {what} instead."
        )
    near = {name: tree.nearest(point_mm, positions) for name, tree in trees.items()}
    found = min(near, key=lambda name: near[name][1])
    if not near[found][1] <= REACH_MM:
        x, y, z = (float(value) for value in np.asarray(point_mm))
        raise SolverError(
            f"No vessel to {what} lies within {REACH_MM:g} mm of ({x:.0f}, {y:.0f}, {z:.0f}) mm: the nearest, of "
            f"{found}, is {near[found][1]:.0f} mm away; give a point on a vessel."
        )
    return found, near[found][0]
