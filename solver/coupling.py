"""Coupling: the tissue's answer together with stiff loads on few vertices, which the factored tangent does not know.

A tool that touches, or a suture, may be a thousand times as stiff as the tissue, and comes and goes at single
vertices. Its energy E is therefore not left to the quasi-Newton iteration of the tissue. Each step solves for

    d = d₀ + W λ,   λ = f − ∇E(x + d) at the joined vertices,

where d₀ is the tissue's own answer to the forces on it, of which f is what the load was expected to add, W = A⁻¹ its
answers to unit forces at single vertices and λ what the load adds differently: the tissue linear, the load exact. It
is the step of a proximal quasi-Newton method (Lee, Sun & Saunders 2014, SIAM J Optim 24:1420), and the minimum over
λ of

    ½ λᵀ S λ + E(x + d₀ + W λ) − f·(d₀ + W λ),   S = W at the joined vertices,

found by Newton's method on the few λ: (I + K S) δλ = f − ∇E(x + d) − λ with K = ∇²E, which is Woodbury's formula
(Hager 1989, SIAM Rev 31:221). Vertices that come into contact on the way are joined as they do. The columns of W are
worked out once for each vertex and kept until the tangent or what is held changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from solver.live_load import LiveLoad
from solver.response import Response

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

# Columns are kept for at most this many vertices.
MOST_KEPT = 600
LOCAL_ITERATIONS = 12
# The load's forces are found when they change by less than this share of themselves, or less than this, mN.
RELATIVE_CHANGE, SMALLEST_MN = 1e-3, 1e-3


class Influence:
    """Answers of the held tissue to unit forces at single vertices, each worked out once.

    Parameters
    ----------
    response : Response
    """

    def __init__(self, response: Response) -> None:
        self.response = response
        self._row: dict[int, int] = {}
        self._columns = np.zeros((0, 3 * response.vertices))

    def columns(self, vertices: Ints) -> Array:
        """Displacements under unit forces along x, y, z of each vertex, shape (3 k, 3 n), mm/mN."""
        missing = [int(v) for v in vertices if int(v) not in self._row]
        if missing and len(self._row) + len(missing) > MOST_KEPT:
            self._row.clear()
            missing = [int(v) for v in vertices]
        if missing:
            self._make_room(3 * (len(self._row) + len(missing)))
            for vertex in missing:
                # One vertex at a time, so that a column does not depend on which others were wanted with it.
                row = 3 * len(self._row)
                self._columns[row : row + 3] = self.response.to_unit_forces(vertex)
                self._row[vertex] = row
        rows = np.array([self._row[int(v)] for v in vertices], dtype=np.int64)
        return self._columns[(rows[:, None] + np.arange(3)).ravel()]

    @property
    def kept(self) -> Ints:
        """Vertices whose columns are known."""
        return np.array(list(self._row), dtype=np.int64)

    def _make_room(self, rows: int) -> None:
        if rows > len(self._columns):
            larger = np.zeros((max(rows, 2 * len(self._columns)), self._columns.shape[1]))
            larger[: len(self._columns)] = self._columns
            self._columns = larger


class _Joined:
    """The vertices that loads have joined so far on one step, and the forces λ there."""

    def __init__(self, influence: Influence) -> None:
        self._influence = influence
        self.vertices = np.zeros(0, dtype=np.int64)
        self.columns = influence.columns(self.vertices)
        self.force = np.zeros(0)
        self.compliance = np.zeros((0, 0))

    def take(self, vertices: Ints) -> None:
        """Join more vertices; the forces of those already joined stay."""
        every = np.union1d(self.vertices, vertices)
        if len(every) == len(self.vertices):
            return
        force = np.zeros((len(every), 3))
        force[np.searchsorted(every, self.vertices)] = self.force.reshape(-1, 3)
        self.vertices, self.force = every, force.ravel()
        self.columns = self._influence.columns(every)
        compliance = self.columns[:, _unknowns(every)]
        self.compliance = 0.5 * (compliance + compliance.T)

    def stiffness(self, loads: Sequence[LiveLoad], positions: Array) -> Array:
        """Second derivative of the loads among the joined vertices."""
        found = np.zeros_like(self.compliance)
        for load in loads:
            vertices, matrix = load.coupled_stiffness(positions)
            place = _unknowns(np.searchsorted(self.vertices, vertices))
            found[np.ix_(place, place)] += matrix
        return found

    def solve(self, loads: Sequence[LiveLoad], positions: Array, right: Array) -> Array:
        """(I + K S)⁻¹ times a vector."""
        stiffness = self.stiffness(loads, positions)
        return np.linalg.solve(np.eye(len(right)) + stiffness @ self.compliance, right)

    def objective(self, force: Array, energy: float, expected: Array, d: Array) -> float:
        """What the forces minimise."""
        return 0.5 * float(force @ (self.compliance @ force)) + energy - float(np.vdot(expected, d))

    def answer(self, force: Array) -> Array:
        """W λ, shape (n, 3)."""
        return (force @ self.columns).reshape(-1, 3)


def coupled_step(
    influence: Influence, loads: Sequence[LiveLoad], positions: Array, step: Array, expected: Array
) -> tuple[Array, Array]:
    """The tissue's own step, corrected by what loads answer on the way.

    Parameters
    ----------
    influence : Influence
    loads : sequence of LiveLoad
        Those that are `coupled`.
    positions, step : ndarray, shape (n, 3), float64
        Where the vertices are, and the tissue's own answer d₀, mm.
    expected : ndarray, shape (n, 3), float64
        The gradient f of the loads that d₀ answers to, mN.

    Returns
    -------
    step : ndarray, shape (n, 3), float64
        d, mm.
    gradient : ndarray, shape (n, 3), float64
        Of the loads at its end, mN: what to expect of them next.
    """
    joined = _Joined(influence)
    gradient = _gradient(loads, positions)[1]
    joined.take(np.flatnonzero((gradient.any(axis=1)) | (expected.any(axis=1))))
    # To begin with, the loads are linear from where the tissue is.
    at = joined.vertices
    sought = (expected[at] - gradient[at]).ravel()
    sought -= joined.stiffness(loads, positions) @ step[at].ravel()
    joined.force = joined.solve(loads, positions, sought)
    d = step + joined.answer(joined.force)
    energy, gradient = _gradient(loads, positions + d)
    for _ in range(LOCAL_ITERATIONS):
        joined.take(np.flatnonzero(gradient.any(axis=1)))
        at = joined.vertices
        wanted = (expected[at] - gradient[at]).ravel()
        missing = wanted - joined.force
        if np.abs(missing).max(initial=0.0) <= SMALLEST_MN + RELATIVE_CHANGE * np.abs(wanted).max(
            initial=0.0
        ):
            break
        change = joined.solve(loads, positions + d, missing)
        value = joined.objective(joined.force, energy, expected, d)
        slope = -float(missing @ (joined.compliance @ change))
        for share in (1.0, 0.5, 0.25, 0.1, 0.03):
            force = joined.force + share * change
            trial = step + joined.answer(force)
            energy, gradient = _gradient(loads, positions + trial)
            reached = joined.objective(force, energy, expected, trial)
            if reached <= value + 1e-4 * share * min(slope, 0.0) + 1e-12 * abs(value):
                break
        joined.force, d = force, trial
    return d, gradient


def _gradient(loads: Sequence[LiveLoad], positions: Array) -> tuple[float, Array]:
    found = [load.evaluate(positions) for load in loads]
    return sum(energy for energy, _ in found), sum(gradient for _, gradient in found)


def _unknowns(vertices: Ints) -> Ints:
    return (3 * vertices[:, None] + np.arange(3)).ravel()
