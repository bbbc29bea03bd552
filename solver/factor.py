"""Factor: a supernodal LDLᵀ factorisation made for many back-solves a second.

Theory. Nodes are ordered by nested dissection (George 1973, SIAM J Numer Anal 10:345) with minimum vertex
separators (König's theorem) between geometric halves; each separator or leaf is one dense supernode, and the factor
is built front by front (Duff & Reid 1983, ACM Trans Math Softw 9:302). Unknowns are of two kinds, those of
which the matrix is to be positive definite once the others are eliminated, and those with a negative definite block
of their own (displacement and pressure of a mixed method, say). Where the first block is definite by itself such a
quasi-definite matrix has an LDLᵀ factor with D = ±1 under every symmetric permutation (Vanderbei 1995, SIAM J Optim
5:100), so no pivoting is needed and the ordering can be chosen for speed alone; elsewhere pivots take the sign they
come with, a vanishing one is lifted (static pivoting; Li & Demmel 1998), and the number of negative ones must still
be that of the second kind (Sylvester's law of inertia), or the matrix is refused. The factor is kept in single
precision, which halves the memory each back-solve has to read: it is meant as a preconditioner, not as a last word.
"""

from __future__ import annotations

import copy
import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numba
import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import maximum_bipartite_matching

from solver.errors import SolverError

LEAF_NODES = 12  # measured: smaller leaves cost more calls, larger ones more fill
# A pivot below this share of what stood on the diagonal before is lost to rounding in single precision.
SMALLEST_PIVOT = 1e-5
# Away from equilibrium the tangent need not be definite; its diagonal is raised by these shares until it is.
STABILISING_SHIFTS = (0.0, 0.02, 0.1, 0.5)
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Dissection:
    """Elimination tree of supernodes over a node graph.

    Parameters
    ----------
    order : ndarray, shape (n,), int64
        Node at each place of the elimination order; children come before parents.
    starts : ndarray, shape (s + 1,), int64
        First place of each supernode, and n.
    parent : ndarray, shape (s,), int64
        Parent supernode, −1 for roots.
    row_starts : ndarray, shape (s + 1,), int64
        First entry of each supernode in `rows`.
    rows : ndarray, int64
        Places, later than the supernode's own, which its factor reaches; ascending in each supernode.
    """

    order: Ints
    starts: Ints
    parent: Ints
    row_starts: Ints
    rows: Ints

    @property
    def entries(self) -> int:
        """Entries of the factor, in node pairs (multiply by block² for numbers)."""
        wide = np.diff(self.starts)
        return int((wide * (wide + 1) // 2 + wide * np.diff(self.row_starts)).sum())


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
    side = np.zeros(len(points), dtype=np.int8)
    pieces: list[Ints] = []
    parents: list[int] = []

    def visit(nodes: Ints) -> int:
        """Append the supernodes of a node set in post-order; return the index of its top one."""
        if len(nodes) <= leaf:
            pieces.append(nodes)
            parents.append(-1)
            return len(pieces) - 1
        first, second, middle = _cut(points, graph, nodes, side)
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
    row_starts, rows = _reach(graph, order, starts, parent)
    return Dissection(order, starts, parent, row_starts, rows)


def _cut(
    points: NDArray[np.float64], graph: sparse.csr_array, nodes: Ints, side: NDArray[np.int8]
) -> tuple[Ints, Ints, Ints]:
    """Two halves without a common edge and the smallest separator found over the three principal axes."""
    centred = points[nodes] - points[nodes].mean(axis=0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1]
    local = graph[nodes][:, nodes].tocoo()
    best: Ints | None = None
    best_first = np.zeros(0, dtype=bool)
    for axis in axes.T:
        along = centred @ axis
        first = np.zeros(len(nodes), dtype=bool)
        first[np.argsort(along, kind="stable")[: len(nodes) // 2]] = True
        cover = _vertex_cover(local, first)
        if best is None or len(cover) < len(best):
            best, best_first = cover, first
    assert best is not None
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


def _reach(graph: sparse.csr_array, order: Ints, starts: Ints, parent: Ints) -> tuple[Ints, Ints]:
    """Later places each supernode's factor reaches: its neighbours' and its children's, less its own."""
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    ordered = graph[order][:, order]
    below: list[Ints] = []
    inherited: list[list[Ints]] = [[] for _ in parent]
    for s in range(len(parent)):
        a, b = starts[s], starts[s + 1]
        near = ordered.indices[ordered.indptr[a] : ordered.indptr[b]]
        reach = np.unique(np.concatenate([near, *inherited[s]])).astype(np.int64)
        reach = reach[reach >= b]
        below.append(reach)
        if parent[s] >= 0:
            inherited[parent[s]].append(reach)
        elif len(reach):
            raise SolverError("The elimination tree lost an edge; the mesh graph is not symmetric.")
    row_starts = np.concatenate([[0], np.cumsum([len(r) for r in below])]).astype(np.int64)
    return row_starts, np.concatenate(below).astype(np.int64)


class Factor:
    """LDLᵀ factor of a quasi-definite sparse matrix of fixed pattern; `refilled` as its values change.

    Parameters
    ----------
    pattern : scipy.sparse.csr_array, shape (N, N)
        Upper triangle, with the whole diagonal, of the symmetric pattern. `refilled` takes its data array.
    node : ndarray, shape (N,), int64
        Node each unknown belongs to, 0…n − 1; unknowns of one node are eliminated together.
    points : ndarray, shape (n, 3), float64
        Node positions, for the ordering.
    negative : ndarray, shape (N,), bool, optional
        Unknowns of the negative definite diagonal block; none by default.
    """

    def __init__(
        self,
        pattern: sparse.csr_array,
        node: Ints,
        points: NDArray[np.float64],
        negative: NDArray[np.bool_] | None = None,
    ) -> None:
        if negative is None:
            negative = np.zeros(len(node), dtype=bool)
        tree = dissect(points, _node_graph(pattern, node, len(points)))
        fronts = _Fronts.of(tree, node, negative)
        self._fronts = fronts
        self._entries = _entry_places(pattern, fronts)
        self._children = _children(tree.parent)
        self._relative = _relative_places(fronts, tree.parent)
        wide, tall = np.diff(fronts.starts), np.diff(fronts.row_starts)
        self._panel_starts = np.concatenate([[0], np.cumsum(wide * (wide + 1) // 2 + wide * tall)])
        self._panels = self._signs = np.empty(0, dtype=np.float32)
        self._negative = int(negative.sum())
        self._widest = int((wide + tall).max())

    @property
    def order(self) -> Ints:
        """Unknown at each place of the elimination, shape (N,)."""
        return self._fronts.order

    @property
    def megabytes(self) -> float:
        """Memory one back-solve reads in each of its two sweeps, in units of 10⁶ bytes."""
        return float(self._panel_starts[-1] * 4 / 1e6)

    def refilled(self, values: NDArray[np.float64]) -> Factor:
        """Factor of the same pattern with new values; this one stays as it is.

        Parameters
        ----------
        values : ndarray, shape (pattern.nnz,), float64
            Entries of the upper triangle, in the order of the pattern.

        Raises
        ------
        SolverError
            If the matrix is not quasi-definite.
        """
        panels = np.empty(int(self._panel_starts[-1]), dtype=np.float32)
        fronts = self._fronts
        one_blas_thread()
        signs = np.empty(len(fronts.order), dtype=np.float32)
        _factorise(
            fronts.starts, fronts.row_starts, *self._children, self._relative,
            *self._entries, values, self._panel_starts, panels, signs,
        )  # fmt: skip
        if not np.isfinite(signs).all() or int((signs < 0).sum()) != self._negative:
            raise SolverError("The tangent stiffness is not definite: the tissue buckles here.")
        filled = copy.copy(self)
        filled._panels, filled._signs = panels, signs
        return filled

    def solve(self, right: NDArray[np.float64]) -> NDArray[np.float64]:
        """Back-solve for one or several right-hand sides.

        Parameters
        ----------
        right : ndarray, shape (N,) or (k, N), float64

        Returns
        -------
        ndarray, the shape of `right`, float64
            In single precision's accuracy.
        """
        fronts = self._fronts
        work = np.ascontiguousarray(right.reshape(-1, len(fronts.order))[:, fronts.order], dtype=np.float32)
        _substitute(
            fronts.starts, fronts.row_starts, fronts.rows,
            self._panel_starts, self._panels, self._signs, work, self._widest,
        )  # fmt: skip
        result = np.empty(work.shape)
        result[:, fronts.order] = work
        return result.reshape(right.shape)


def definite_factor(factor: Factor, values: NDArray[np.float64], diagonal: Ints) -> Factor:
    """Factor of a tangent whose diagonal is raised as little as makes it definite.

    Parameters
    ----------
    factor : Factor
        Of the same pattern.
    values : ndarray, shape (pattern.nnz,), float64
    diagonal : ndarray of int64
        Entries that may be raised: the diagonal of the displacements.

    Raises
    ------
    SolverError
        If the largest of `STABILISING_SHIFTS` does not do.
    """
    for shift in STABILISING_SHIFTS[:-1]:
        raised = values.copy()
        raised[diagonal] *= 1.0 + shift
        try:
            return factor.refilled(raised)
        except SolverError:
            continue
    raised = values.copy()
    raised[diagonal] *= 1.0 + STABILISING_SHIFTS[-1]
    return factor.refilled(raised)


@cache
def one_blas_thread() -> None:
    """Keep the BLAS of SciPy (which Numba calls) and NumPy to one thread.

    Fronts and vectors are small: more threads gain nothing, and where other work shares the cores they wait for
    one another (measured: a factorisation of 0.2 s took 1.6 s, a dot product of 13,000 numbers 1 ms). Sums then
    also come out the same on every run. Without the wheels' bundled libraries (conda-forge) nothing is changed;
    set OPENBLAS_NUM_THREADS=1 there.
    """
    site = Path(scipy.__file__).parent.parent
    for pattern, name in (
        ("scipy.libs/libscipy_openblas*", "scipy_openblas_set_num_threads"),
        ("numpy.libs/libscipy_openblas64_*", "scipy_openblas_set_num_threads64_"),
    ):
        for library in site.glob(pattern):
            getattr(ctypes.CDLL(str(library)), name)(1)


def _node_graph(pattern: sparse.csr_array, node: Ints, count: int) -> sparse.csr_array:
    """Adjacency of nodes whose unknowns meet in the matrix."""
    row = np.repeat(node, np.diff(pattern.indptr))
    column = node[pattern.indices]
    pairs = np.unique(np.concatenate([row * count + column, column * count + row]))
    ones = np.ones(len(pairs), dtype=np.int8)
    return sparse.csr_array((ones, (pairs // count, pairs % count)), shape=(count, count))


@dataclass(frozen=True)
class _Fronts:
    """Dissection spelt out in unknowns: each front's own (positive ones first), then those it reaches."""

    order: Ints  # unknown at each place
    starts: Ints  # first place of each front
    row_starts: Ints
    rows: Ints  # places reached, ascending in each front

    @staticmethod
    def of(tree: Dissection, node: Ints, negative: NDArray[np.bool_]) -> _Fronts:
        owner_of_node = np.empty(len(tree.order), dtype=np.int64)
        owner_of_node[tree.order] = np.repeat(np.arange(len(tree.parent)), np.diff(tree.starts))
        place_of_node = np.empty(len(tree.order), dtype=np.int64)
        place_of_node[tree.order] = np.arange(len(tree.order))
        owner = owner_of_node[node]
        order = np.lexsort((place_of_node[node], negative, owner))
        starts = np.searchsorted(owner[order], np.arange(len(tree.parent) + 1))
        by_node = np.argsort(place_of_node[node[order]], kind="stable")
        first = np.searchsorted(place_of_node[node[order]][by_node], np.arange(len(tree.order) + 1))
        rows, row_starts = [], [0]
        for s in range(len(tree.parent)):
            reached = tree.rows[tree.row_starts[s] : tree.row_starts[s + 1]]
            counts = first[reached + 1] - first[reached]
            within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            rows.append(np.sort(by_node[np.repeat(first[reached], counts) + within]))
            row_starts.append(row_starts[-1] + len(rows[-1]))
        return _Fronts(
            order, starts.astype(np.int64),
            np.array(row_starts, dtype=np.int64), np.concatenate(rows).astype(np.int64),
        )  # fmt: skip


def _entry_places(pattern: sparse.csr_array, fronts: _Fronts) -> tuple[Ints, Ints, Ints, Ints]:
    """Per front: which matrix entries enter it, and at which row and column of its upper triangle."""
    count = len(fronts.order)
    place = np.empty(count, dtype=np.int64)
    place[fronts.order] = np.arange(count)
    supernodes = len(fronts.starts) - 1
    owner = np.repeat(np.arange(supernodes), np.diff(fronts.starts))
    row, column = place[np.repeat(np.arange(count), np.diff(pattern.indptr))], place[pattern.indices]
    low, high = np.minimum(row, column), np.maximum(row, column)
    entry = np.argsort(owner[low], kind="stable")
    low, high = low[entry], high[entry]
    home = owner[low]
    # Rows are ascending within a front, so (front, place) keys are ascending over all of them.
    keys = np.repeat(np.arange(supernodes), np.diff(fronts.row_starts)) * count + fronts.rows
    wide = fronts.starts[home + 1] - fronts.starts[home]
    below = np.searchsorted(keys, home * count + high) - fronts.row_starts[home] + wide
    column = np.where(high < fronts.starts[home + 1], high - fronts.starts[home], below)
    first = np.searchsorted(home, np.arange(supernodes + 1))
    return (
        first.astype(np.int64),
        entry.astype(np.int32),
        (low - fronts.starts[home]).astype(np.int32),
        column.astype(np.int32),
    )


def _children(parent: Ints) -> tuple[Ints, Ints]:
    """Children of each supernode as (first, list)."""
    listed = np.argsort(parent, kind="stable")
    listed = listed[parent[listed] >= 0]
    first = np.searchsorted(parent[listed], np.arange(len(parent) + 1))
    return first.astype(np.int64), listed.astype(np.int64)


def _relative_places(fronts: _Fronts, parent: Ints) -> Ints:
    """Row or column in its parent's front of every unknown a front reaches."""
    relative = np.zeros(len(fronts.rows), dtype=np.int64)
    for s, above in enumerate(parent):
        if above < 0:
            continue
        mine = slice(fronts.row_starts[s], fronts.row_starts[s + 1])
        own = np.arange(fronts.starts[above], fronts.starts[above + 1])
        theirs = np.concatenate([own, fronts.rows[fronts.row_starts[above] : fronts.row_starts[above + 1]]])
        relative[mine] = np.searchsorted(theirs, fronts.rows[mine])
    return relative


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def _eliminate(front, pivots, signs, strip=32):  # type: ignore[no-untyped-def]
    """Left-looking blocked LDLᵀ of the first `pivots` rows of a front (upper storage); fills their signs."""
    size = len(front)
    for start in range(0, pivots, strip):
        end = min(start + strip, pivots)
        if start:
            signed = np.empty((end - start, start), dtype=np.float32)
            for j in range(start):
                for i in range(start, end):
                    signed[i - start, j] = signs[j] * front[j, i]
            known = np.dot(signed, front[:start])
        for i in range(start, end):
            before = abs(front[i, i])
            if start:
                for j in range(i, size):
                    front[i, j] -= known[i - start, j]
            for q in range(start, i):
                factor = signs[q] * front[q, i]
                for j in range(i, size):
                    front[i, j] -= factor * front[q, j]
            pivot = front[i, i]
            signs[i] = np.float32(1.0) if pivot > 0.0 else np.float32(-1.0)
            if not np.isfinite(pivot):
                signs[i] = np.float32(np.nan)
            size_of = max(abs(pivot), SMALLEST_PIVOT * before)
            scale = signs[i] / np.sqrt(size_of)
            for j in range(i + 1, size):
                front[i, j] *= scale
            front[i, i] = np.sqrt(size_of)


@numba.njit(nogil=True, cache=True)
def _update_of(front, pivots, signs, strip=96):  # type: ignore[no-untyped-def]
    """Schur complement a front hands to its parent (upper triangle valid)."""
    size = len(front) - pivots
    known = np.empty((pivots, size), dtype=np.float32)
    for i in range(pivots):
        known[i] = front[i, pivots:]
    result = np.empty((size, size), dtype=np.float32)
    for start in range(0, size, strip):
        end = min(start + strip, size)
        signed = np.empty((end - start, pivots), dtype=np.float32)
        for j in range(pivots):
            for i in range(start, end):
                signed[i - start, j] = signs[j] * known[j, i]
        right = known
        if start:
            right = np.empty((pivots, size - start), dtype=np.float32)
            for i in range(pivots):
                right[i] = known[i, start:]
        product = np.dot(signed, right)
        for i in range(start, end):
            for j in range(i, size):
                result[i, j] = front[pivots + i, pivots + j] - product[i - start, j - start]
    return result


@numba.njit(nogil=True, cache=True)
def _factorise(  # type: ignore[no-untyped-def]
    starts, row_starts, child_first, child_list, relative,
    entry_first, entry, entry_row, entry_column, values, panel_starts, panels, signs,
):  # fmt: skip
    """Fill `panels`: for each front the columns of its factor, packed, with inverse diagonals."""
    updates = [np.empty((0, 0), dtype=np.float32) for _ in range(len(starts) - 1)]
    for s in range(len(starts) - 1):
        pivots = starts[s + 1] - starts[s]
        size = pivots + row_starts[s + 1] - row_starts[s]
        front = np.zeros((size, size), dtype=np.float32)
        for k in range(entry_first[s], entry_first[s + 1]):
            front[entry_row[k], entry_column[k]] += values[entry[k]]
        for c in child_list[child_first[s] : child_first[s + 1]]:
            target = relative[row_starts[c] : row_starts[c + 1]]
            update = updates[c]
            for i in range(len(target)):
                for j in range(i, len(target)):
                    front[target[i], target[j]] += update[i, j]
            updates[c] = np.empty((0, 0), dtype=np.float32)
        mine = signs[starts[s] : starts[s + 1]]
        _eliminate(front, pivots, mine)
        at = panel_starts[s]
        for i in range(pivots):
            panels[at] = np.float32(1.0) / front[i, i]
            panels[at + 1 : at + size - i] = front[i, i + 1 :]
            at += size - i
        if size > pivots:
            updates[s] = _update_of(front, pivots, mine)


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def _substitute(  # type: ignore[no-untyped-def]
    starts, row_starts, rows, panel_starts, panels, signs, x, widest
):  # fmt: skip
    """Overwrite each row of `x` (in elimination order) with its solution."""
    y = np.empty(widest, dtype=np.float32)
    count = len(starts) - 1
    for s in range(count):
        first, pivots = starts[s], starts[s + 1] - starts[s]
        reached = rows[row_starts[s] : row_starts[s + 1]]
        size = pivots + len(reached)
        for k in range(len(x)):
            y[:pivots] = x[k, first : first + pivots]
            y[pivots:size] = 0.0
            at = panel_starts[s]
            for j in range(pivots):
                column = panels[at : at + size - j]
                rest = y[j:size]
                value = rest[0] * column[0]
                for i in range(1, len(rest)):
                    rest[i] -= column[i] * value
                x[k, first + j] = value * signs[first + j]
                at += size - j
            for i in range(len(reached)):
                x[k, reached[i]] += y[pivots + i]
    for s in range(count - 1, -1, -1):
        first, pivots = starts[s], starts[s + 1] - starts[s]
        reached = rows[row_starts[s] : row_starts[s + 1]]
        size = pivots + len(reached)
        for k in range(len(x)):
            y[:pivots] = x[k, first : first + pivots]
            for i in range(len(reached)):
                y[pivots + i] = x[k, reached[i]]
            at = panel_starts[s + 1]
            for j in range(pivots - 1, -1, -1):
                at -= size - j
                column = panels[at : at + size - j]
                rest = y[j:size]
                total = np.float32(0.0)
                for i in range(1, len(rest)):
                    total += column[i] * rest[i]
                rest[0] = (rest[0] - total) * column[0]
            x[k, first : first + pivots] = y[:pivots]
