"""Factor: a supernodal LDLᵀ factorisation made for many back-solves a second.

Theory. Nodes are ordered by nested dissection (`solver.dissection`); each separator or leaf is one dense supernode,
and the factor is built front by front (Duff & Reid 1983, ACM Trans Math Softw 9:302). Unknowns are of two kinds, those
of which the matrix is to be positive definite once the others are eliminated, and those with a negative definite block
of their own (displacement and pressure of a mixed method, say). Where the first block is definite by itself such a
quasi-definite matrix has an LDLᵀ factor with D = ±1 under every symmetric permutation (Vanderbei 1995, SIAM J Optim
5:100), so no pivoting is needed and the ordering can be chosen for speed alone; elsewhere pivots take the sign they
come with, a vanishing one is lifted (static pivoting; Li & Demmel 1998), and the number of negative ones must still
be that of the second kind (Sylvester's law of inertia), or the matrix is refused.

A back-solve reads the whole factor twice and does little else, so its bytes are its time. The factor is computed in
single precision and kept in half (each row scaled, sums still in single precision): it is meant as a preconditioner,
not as a last word. Subtrees of the elimination tree are shared out to two threads (`solver.fronts.Shares`).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numba
import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import sparse

from solver import elimination
from solver.blas import blas_addresses
from solver.dissection import Dissection, dissect
from solver.errors import SolverError
from solver.fronts import Fronts, node_graph
from solver.pairs import both

# Away from equilibrium the tangent need not be definite; its diagonal is raised by these shares until it is.
STABILISING_SHIFTS = (0.0, 0.02, 0.1, 0.5)
# Below this many numbers in the factor a second thread costs more than it saves.
WORTH_TWO_THREADS = 1_000_000
Array = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class _Numbers:
    """Values of a factor."""

    panels: NDArray[np.uint16]
    scales: Singles
    pivots: Singles  # inverse
    signs: Singles


@dataclass(frozen=True)
class Held:
    """Unknowns that a factor keeps at zero (`Factor.hold`).

    With A = L D Lᵀ, E the unit vectors of the held unknowns and G = L⁻¹E, the held answer to r is
    L⁻ᵀ D (y − Q Qᵀ D y), where y = L⁻¹r and Q Qᵀ = G (Gᵀ D G)⁻¹ Gᵀ (capacitance matrix; Hager 1989, SIAM Rev 31:221).
    G is zero off the path from the held unknowns to the root, so this costs little beside the back-solve.

    Parameters
    ----------
    unknowns : ndarray, shape (h,), int64
    places : ndarray, shape (k,), int64
        Of the elimination order, on the path.
    basis : ndarray, shape (k, h), float32
        Q.
    capacitance : tuple
        Cholesky factor of Gᵀ D G, float64, as SciPy keeps it.
    """

    unknowns: Ints
    places: Ints
    basis: Singles
    capacitance: tuple[Array, bool]


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
        points: Array,
        negative: NDArray[np.bool_] | None = None,
    ) -> None:
        self._set_up(dissect(points, node_graph(pattern, node, len(points))), pattern, node, negative)

    def _set_up(
        self, tree: Dissection, pattern: sparse.csr_array, node: Ints, negative: NDArray[np.bool_] | None
    ) -> None:
        if negative is None:
            negative = np.zeros(len(node), dtype=bool)
        self._tree, self._fronts = tree, Fronts.of(tree, pattern, node, negative)
        self._negative = int(negative.sum())
        nothing = np.empty(0, dtype=np.float32)
        self._numbers = _Numbers(np.empty(0, dtype=np.uint16), nothing, nothing, nothing)

    def extended(
        self,
        pattern: sparse.csr_array,
        node: Ints,
        points: Array,
        negative: NDArray[np.bool_] | None,
        parents: Ints,
    ) -> Factor:
        """Factor, still without values, of a mesh that has been cut, in the order of this one.

        Where the order no longer serves (`Dissection.extended`) a new one is found, which takes longer.

        Parameters
        ----------
        pattern, node, points, negative
            Of the cut mesh, as for `Factor`.
        parents : ndarray, shape (n', 2), int64
            The two old nodes, neighbours, that each new node lies between; twice the same one for a node that was
            there before or is a copy of it.
        """
        graph = node_graph(pattern, node, len(points))
        tree = self._tree.extended(graph, np.asarray(parents, dtype=np.int64))
        other = Factor.__new__(Factor)
        other._set_up(dissect(points, graph) if tree is None else tree, pattern, node, negative)
        return other

    @property
    def order(self) -> Ints:
        """Unknown at each place of the elimination, shape (N,)."""
        return self._fronts.order

    @property
    def entries(self) -> int:
        """Numbers of the factor."""
        fronts = self._fronts
        wide, tall = np.diff(fronts.starts), np.diff(fronts.row_starts)
        return int((wide * (wide + 1) // 2 + wide * tall).sum())

    @property
    def operations(self) -> float:
        """Multiplications of one factorisation."""
        fronts = self._fronts
        wide, tall = (np.diff(starts).astype(np.float64) for starts in (fronts.starts, fronts.row_starts))
        return float((wide**3 / 6 + wide * (wide * tall + tall**2) / 2).sum())

    @property
    def megabytes(self) -> float:
        """Memory one back-solve reads in each of its two sweeps, in units of 10⁶ bytes."""
        return self.entries * 2 / 1e6

    def refilled(self, values: Array) -> Factor:
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
        fronts, count = self._fronts, len(self.order)
        numbers = _Numbers(
            np.empty(int(fronts.panel_starts[-1]), dtype=np.uint16),
            *(np.empty(count, dtype=np.float32) for _ in range(3)),
        )
        updates = np.empty(fronts.update_room, dtype=np.float32)

        def eliminate(part: Ints) -> None:
            elimination.factorise(
                part, *blas_addresses(), fronts.starts, fronts.row_starts, fronts.relative, *fronts.children,
                fronts.entry_first, fronts.entry, fronts.entry_row, fronts.entry_column, values,
                fronts.update_starts, updates, fronts.largest,
                fronts.panel_starts, numbers.panels, numbers.scales, numbers.pivots, numbers.signs,
            )  # fmt: skip

        both(lambda: eliminate(fronts.shares.first), lambda: eliminate(fronts.shares.second), self._worth)
        eliminate(fronts.shares.top)
        if not np.isfinite(numbers.signs).all() or int((numbers.signs < 0).sum()) != self._negative:
            raise SolverError("The tangent stiffness is not definite: the tissue buckles here.")
        filled = copy.copy(self)
        filled._numbers = numbers
        return filled

    @property
    def _worth(self) -> bool:
        return int(self._fronts.panel_starts[-1]) > WORTH_TWO_THREADS

    def hold(self, unknowns: Ints) -> Held:
        """Prepare answers in which some unknowns, of the first kind, stay at zero.

        Parameters
        ----------
        unknowns : ndarray, shape (h,), int64

        Raises
        ------
        SolverError
            If what is held together is not definite.
        """
        fronts, numbers = self._fronts, self._numbers
        place = np.empty(len(self.order), dtype=np.int64)
        place[self.order] = np.arange(len(self.order))
        path = self._path(np.searchsorted(fronts.starts, place[unknowns], side="right") - 1)
        ranges = [np.arange(fronts.starts[s], fronts.starts[s + 1]) for s in path]
        places = np.concatenate([np.zeros(0, dtype=np.int64), *ranges])
        local = np.zeros(len(self.order), dtype=np.int64)
        local[places] = np.arange(len(places))
        influence = np.zeros((len(places), len(unknowns)), dtype=np.float32)
        influence[local[place[unknowns]], np.arange(len(unknowns))] = 1.0
        elimination.forward_block(
            path, fronts.starts, fronts.row_starts, local, fronts.panel_starts,
            numbers.panels, numbers.scales, numbers.pivots, influence, fronts.rows, *blas_addresses(),
        )  # fmt: skip
        signed = influence * numbers.signs[places, None]
        try:
            lower = scipy.linalg.cholesky(
                influence.T.astype(np.float64) @ signed.astype(np.float64), lower=True
            )
        except np.linalg.LinAlgError as error:
            raise SolverError("The tissue that is held is not definite: it buckles in the tool.") from error
        basis = scipy.linalg.solve_triangular(lower, influence.T.astype(np.float64), lower=True).T
        return Held(unknowns, places, np.ascontiguousarray(basis, dtype=np.float32), (lower, True))

    def _path(self, supernodes: Ints) -> Ints:
        """Supernodes and all above them, children before parents."""
        found: set[int] = set()
        for s in np.unique(supernodes).tolist():
            while s >= 0 and s not in found:
                found.add(s)
                s = int(self._tree.parent[s])
        return np.array(sorted(found), dtype=np.int64)

    def solve(self, right: Array, held: Held | None = None) -> Array:
        """Back-solve for one or several right-hand sides.

        Parameters
        ----------
        right : ndarray, shape (N,) or (k, N), float64
        held : Held, optional
            Unknowns that stay at zero whatever acts on them.

        Returns
        -------
        ndarray, the shape of `right`, float64
            In half precision's accuracy: some 10⁻³, or better.
        """
        rows = right.reshape(-1, len(self.order))
        result = np.empty(rows.shape)
        for given, found in zip(rows, result, strict=True):
            self._solve_one(given, found, held)
        return result.reshape(right.shape)

    def _solve_one(self, given: Array, found: Array, held: Held | None) -> None:
        fronts, numbers, shares = self._fronts, self._numbers, self._fronts.shares
        kept = (numbers.panels, numbers.scales, numbers.pivots)
        tree = (fronts.starts, fronts.row_starts, fronts.rows, fronts.panel_starts)
        x = np.empty(len(self.order), dtype=np.float32)
        _gather(given, self.order, x)
        beyond = np.zeros((2, len(x)), dtype=np.float32)
        both(
            lambda: elimination.forward(shares.first, *tree, *kept, x, beyond[0], fronts.largest),
            lambda: elimination.forward(shares.second, *tree, *kept, x, beyond[1], fronts.largest),
            self._worth,
        )
        beyond[0, shares.top_places] += beyond[1, shares.top_places]
        elimination.forward(shares.top, *tree, *kept, x, beyond[0], fronts.largest)
        x *= numbers.signs
        if held is not None and len(held.unknowns):
            there = x[held.places]
            x[held.places] = there - numbers.signs[held.places] * (held.basis @ (there @ held.basis))
        elimination.backward(shares.top, *tree, *kept, x, fronts.largest)
        both(
            lambda: elimination.backward(shares.first, *tree, *kept, x, fronts.largest),
            lambda: elimination.backward(shares.second, *tree, *kept, x, fronts.largest),
            self._worth,
        )
        _scatter(x, self.order, found)
        if held is not None:
            found[held.unknowns] = 0.0


@numba.njit(nogil=True, cache=True)
def _gather(source, order, target):  # type: ignore[no-untyped-def]
    for i in range(len(order)):
        target[i] = np.float32(source[order[i]])


@numba.njit(nogil=True, cache=True)
def _scatter(source, order, target):  # type: ignore[no-untyped-def]
    for i in range(len(order)):
        target[order[i]] = source[i]


def definite_factor(factor: Factor, values: Array, diagonal: Ints) -> Factor:
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
