"""Dissection: in which order to eliminate the vertices of a mesh, and how to keep the order when the mesh is cut.

Nodes are ordered by nested dissection (George 1973, SIAM J Numer Anal 10:345) with minimum vertex separators (König's
theorem) near the best of several planes; each separator or leaf is one supernode of the elimination tree. What makes an
order usable is one property alone: neighbours are on one path to the root. A cut that splits edges keeps it when a
new vertex joins the supernode nearest to the root among those of the two it lies between, and a copy that of its
original, for the corners of a tetrahedron are all on one path. `Dissection.extended` does this, so that after a cut
only the reach of the supernodes has to be found anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import maximum_bipartite_matching

from solver.errors import SolverError

LEAF_NODES = 12  # measured: smaller leaves cost more calls, larger ones more fill
# Shares of the nodes before a plane that are tried; the first alone for few nodes. A separator away from the middle
# must be smaller by this share of the unevenness. Measured on livers of 20,000 and 100,000 tetrahedra against halves
# across the three principal axes: 42 and 25 % less arithmetic, 19 and 14 % fewer numbers in the factor.
PLANES = (0.5, 0.45, 0.55, 0.4, 0.6)
UNEVENNESS = 0.5
# Sets larger than these are cut by all planes, and along the diagonals too.
SOME_NODES, MANY_NODES = 100, 300
# An extended order is kept until its factor is this much larger than that of the last true dissection.
LARGEST_GROWTH = 1.5
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Dissection:
    """Elimination tree of supernodes over a node graph.

    Parameters
    ----------
    order : ndarray, shape (n,), int64
        Node at each place of the elimination order; children come before parents.
    starts : ndarray, shape (s + 1,), int64
        First place of each supernode, and n. Supernodes that a cut has emptied stay in the tree.
    parent : ndarray, shape (s,), int64
        Parent supernode, −1 for roots.
    row_starts : ndarray, shape (s + 1,), int64
        First entry of each supernode in `rows`.
    rows : ndarray, int64
        Places, later than the supernode's own, which its factor reaches; ascending in each supernode.
    dissected_entries : int
        Entries of the factor when its order was last found by dissection.
    """

    order: Ints
    starts: Ints
    parent: Ints
    row_starts: Ints
    rows: Ints
    dissected_entries: int

    @property
    def entries(self) -> int:
        """Entries of the factor, in node pairs (multiply by block² for numbers)."""
        return _entries(self.starts, self.row_starts)

    @property
    def owner(self) -> Ints:
        """Supernode of each node, shape (n,)."""
        owner = np.empty(len(self.order), dtype=np.int64)
        owner[self.order] = np.repeat(np.arange(len(self.parent)), np.diff(self.starts))
        return owner

    def extended(self, graph: sparse.csr_array, parents: Ints) -> Dissection | None:
        """The same tree over a mesh of which edges were split, vertices copied, or pieces removed.

        Parameters
        ----------
        graph : scipy.sparse.csr_array, shape (n', n')
            Adjacency of the new mesh.
        parents : ndarray, shape (n', 2), int64
            The two old nodes each new node lies between, which are neighbours; twice the same one for a node that
            was there before or is a copy of it.

        Returns
        -------
        Dissection or None
            None where an edge joins two nodes that are not on one path to the root, or where the factor would be
            more than `LARGEST_GROWTH` as large as at the last dissection.
        """
        owner = self.owner[parents].max(axis=1)  # children come before parents
        place = np.empty(len(self.order), dtype=np.int64)
        place[self.order] = np.arange(len(self.order))
        order = np.lexsort((np.arange(len(owner)), place[parents].max(axis=1), owner))
        starts = np.searchsorted(owner[order], np.arange(len(self.parent) + 1)).astype(np.int64)
        found = _reach(graph, order, starts, self.parent)
        if found is None or _entries(starts, found[0]) > LARGEST_GROWTH * self.dissected_entries:
            return None
        return Dissection(order, starts, self.parent, *found, self.dissected_entries)


def _entries(starts: Ints, row_starts: Ints) -> int:
    wide = np.diff(starts)
    return int((wide * (wide + 1) // 2 + wide * np.diff(row_starts)).sum())


def dissect(points: NDArray[np.float64], graph: sparse.csr_array, leaf: int = LEAF_NODES) -> Dissection:
    """Order the nodes of a mesh by nested dissection.

    Parameters
    ----------
    points : ndarray, shape (n, 3), float64
        Node positions (any unit): halves are taken along their longest extents.
    graph : scipy.sparse.csr_array, shape (n, n)
        Symmetric adjacency with the diagonal; only the pattern counts.
    leaf : int
        Node sets up to this size are not cut further.
    """
    pieces: list[Ints] = []
    parents: list[int] = []

    def visit(nodes: Ints) -> int:
        """Append the supernodes of a node set in post-order; return the index of its top one."""
        if len(nodes) <= leaf:
            pieces.append(nodes)
            parents.append(-1)
            return len(pieces) - 1
        first, second, middle = _cut(points, graph, nodes)
        children = [visit(part) for part in (first, second) if len(part)]
        if not len(middle) and len(children) == 1:
            return children[0]
        pieces.append(middle)
        parents.append(-1)
        for child in children:
            parents[child] = len(pieces) - 1
        return len(pieces) - 1

    visit(np.arange(len(points)))
    order = np.concatenate(pieces).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum([len(p) for p in pieces])]).astype(np.int64)
    parent = np.array(parents, dtype=np.int64)
    found = _reach(graph, order, starts, parent)
    if found is None:
        raise SolverError("The elimination tree lost an edge; the mesh graph is not symmetric.")
    return Dissection(order, starts, parent, *found, _entries(starts, found[0]))


def _cut(points: NDArray[np.float64], graph: sparse.csr_array, nodes: Ints) -> tuple[Ints, Ints, Ints]:
    """Two parts without a common edge and the best separator found over planes across several directions."""
    centred = points[nodes] - points[nodes].mean(axis=0)
    directions = np.linalg.eigh(centred.T @ centred)[1][:, ::-1].T
    if len(nodes) > MANY_NODES:
        i, j = np.triu_indices(3, 1)
        directions = np.concatenate(
            [directions, directions[i] + directions[j], directions[i] - directions[j]]
        )
    local = graph[nodes][:, nodes].tocoo()
    least, best, best_first = np.inf, nodes[:0], np.zeros(0, dtype=bool)
    for direction in directions:
        along = np.argsort(centred @ direction, kind="stable")
        for share in PLANES if len(nodes) > SOME_NODES else PLANES[:1]:
            first = np.zeros(len(nodes), dtype=bool)
            first[along[: int(share * len(nodes))]] = True
            cover = _vertex_cover(local, first)
            uneven = abs(2 * int(first.sum()) - len(nodes)) / len(nodes)
            if len(cover) * (1 + UNEVENNESS * uneven) < least:
                least, best, best_first = len(cover) * (1 + UNEVENNESS * uneven), cover, first
    keep = np.ones(len(nodes), dtype=bool)
    keep[best] = False
    return nodes[keep & best_first], nodes[keep & ~best_first], nodes[best]


def _vertex_cover(local: sparse.coo_array, first: NDArray[np.bool_]) -> Ints:
    """Fewest nodes that touch every edge between the two halves (König's construction from a matching)."""
    crossing = first[local.row] & ~first[local.col]
    left, a = np.unique(local.row[crossing], return_inverse=True)
    right, b = np.unique(local.col[crossing], return_inverse=True)
    if not len(left):
        return np.zeros(0, dtype=np.int64)
    edges = sparse.csr_array((np.ones(len(a), dtype=np.int8), (a, b)), shape=(len(left), len(right)))
    mate = maximum_bipartite_matching(edges, perm_type="row")  # left partner of each right node
    reached_left = np.ones(len(left), dtype=bool)
    reached_left[mate[mate >= 0]] = False
    reached_right = np.zeros(len(right), dtype=bool)
    while True:
        touched = np.zeros(len(right), dtype=bool)
        touched[b[reached_left[a]]] = True
        if (touched == reached_right).all():
            break
        reached_right = touched
        partners = mate[touched]
        reached_left[partners[partners >= 0]] = True
    return np.concatenate([left[~reached_left], right[reached_right]]).astype(np.int64)


def _reach(graph: sparse.csr_array, order: Ints, starts: Ints, parent: Ints) -> tuple[Ints, Ints] | None:
    """Later places each supernode's factor reaches: its neighbours' and its children's, less its own.

    None where an edge is not on one path to the root.
    """
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    row_starts, rows, whole = _reach_loop(
        graph.indptr.astype(np.int64), graph.indices.astype(np.int64), order, place, starts, parent,
        *children_of(parent),
    )  # fmt: skip
    return (row_starts, rows) if whole else None


def children_of(parent: Ints) -> tuple[Ints, Ints]:
    """Children of each supernode: first entry of each in a list, and the list."""
    listed = np.argsort(parent, kind="stable")
    listed = listed[parent[listed] >= 0]
    first = np.searchsorted(parent[listed], np.arange(len(parent) + 1))
    return first.astype(np.int64), listed.astype(np.int64)


@numba.njit(nogil=True, cache=True)
def _reach_loop(indptr, indices, order, place, starts, parent, child_first, child_list):  # type: ignore[no-untyped-def]
    """Rows of every supernode, and whether none is lost on the way to the root."""
    count, whole = len(parent), True
    row_starts = np.zeros(count + 1, dtype=np.int64)
    rows = np.empty(4 * len(order) + 16, dtype=np.int64)
    seen = np.full(len(order), -1, dtype=np.int64)
    for s in range(count):
        first = at = row_starts[s]
        end = starts[s + 1]
        most = at
        for p in range(starts[s], end):
            most += indptr[order[p] + 1] - indptr[order[p]]
        for c in child_list[child_first[s] : child_first[s + 1]]:
            most += row_starts[c + 1] - row_starts[c]
        if most > len(rows):
            larger = np.empty(2 * most, dtype=np.int64)
            larger[:at] = rows[:at]
            rows = larger
        for p in range(starts[s], end):
            for k in range(indptr[order[p]], indptr[order[p] + 1]):
                q = place[indices[k]]
                if q >= end and seen[q] != s:
                    seen[q] = s
                    rows[at] = q
                    at += 1
        for c in child_list[child_first[s] : child_first[s + 1]]:
            for k in range(row_starts[c], row_starts[c + 1]):
                q = rows[k]
                if q >= end and seen[q] != s:
                    seen[q] = s
                    rows[at] = q
                    at += 1
                # What a child reaches before its parent's end is its parent's own.
                whole = whole and q >= starts[s]
        rows[first:at] = np.sort(rows[first:at])
        whole = whole and (at == first or parent[s] >= 0)
        row_starts[s + 1] = at
    return row_starts, rows[: row_starts[count]].copy(), whole
