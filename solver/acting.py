"""Acting: the loads of the live tissue, as they are at one moment, on the reference tier.

A live state with gas, sutures, needles or tools on it is an equilibrium of the body *and* these loads. `Acting` puts
their forces into the reference tier's own Newton method, on the vertices of its linear tetrahedra, with the loads'
second derivatives in its tangent. Loads of time, such as inertia, are not among them: an equilibrium has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_matrix

from solver.backend import fem
from solver.body import Body
from solver.elements import Element
from solver.live_load import LiveLoad
from solver.live_motion import Motion
from solver.live_relaxation import LiveRelaxation
from solver.pneumoperitoneum import Pneumoperitoneum

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

OF_TIME = (Motion, LiveRelaxation)


def outer_loads(loads: Iterable[LiveLoad]) -> tuple[LiveLoad, ...]:
    """Those among the loads of the live tissue that an equilibrium feels."""
    return tuple(load for load in loads if not isinstance(load, OF_TIME))


@dataclass(frozen=True)
class Acting:
    """Live loads as one load of the reference tier; needs an element of linear displacements.

    Parameters
    ----------
    loads : tuple of LiveLoad
        They stay as they are: a stick point does not slip, a shielded surface does not turn.
    """

    loads: tuple[LiveLoad, ...]
    conservative = True

    def virtual_work(self, body: Body, u: Any, v: Any, share: fem.Constant) -> int:
        """Nothing: the forces are not written as a form."""
        return 0

    def bind(self, element: Element) -> BoundActing:
        """The loads on the unknowns of an element."""
        return BoundActing(self.loads, element)


class BoundActing:
    """Live loads on the unknowns of one element."""

    def __init__(self, loads: tuple[LiveLoad, ...], element: Element) -> None:
        self._loads, self._points = loads, element.body.reference_points
        self._nodes = element.interpolation
        self._unknowns = element.displacements

    def _positions(self, x: Array) -> Array:
        displacement = np.zeros_like(self._points)
        vertex = self._nodes.indices
        displacement[vertex] = x[self._unknowns]
        return self._points + displacement

    def force(self, x: Array) -> Array:
        """What the loads add to the out-of-balance force, mN, shape (unknowns,)."""
        positions = self._positions(x)
        gradient = np.sum([load.evaluate(positions)[1] for load in self._loads], axis=0)
        force = np.zeros(len(x))
        force[self._unknowns] = gradient[self._nodes.indices]
        return force

    def stiffness(self, x: Array) -> csr_matrix:
        """Its derivative, mN/mm, shape (unknowns, unknowns)."""
        positions = self._positions(x)
        unknown = np.empty(self._points.shape, dtype=np.int64)
        unknown[self._nodes.indices] = self._unknowns
        total = csr_matrix((len(x), len(x)))
        for load in self._loads:
            row, column, values = _entries(load, positions, unknown)
            total = total + csr_matrix(coo_array((values, (row, column)), shape=total.shape))
        return total

    # ------------------------------------------------------------------ along a path: they stay as they are

    def moves(self) -> bool:
        """No load moves."""
        return False

    def begin(self, x: Array) -> None:
        """Nothing to begin."""

    def follow(self, share: float) -> None:
        """Nothing to follow."""

    def augment(self, x: Array) -> bool:
        """Nothing that has to settle."""
        return False

    def commit(self, x: Array) -> None:
        """Nothing to keep."""

    def snapshot(self) -> tuple[Any, ...]:
        """Nothing that changes."""
        return ()

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Nothing to go back to."""


def _entries(load: LiveLoad, positions: Array, unknown: Ints) -> tuple[Ints, Ints, Array]:
    """Rows, columns and values of a load's second derivative; `unknown` has the unknowns of each vertex, (n, 3)."""
    if isinstance(load, Pneumoperitoneum):
        local = load.second_derivative(positions).tocoo()
        return unknown.ravel()[local.row], unknown.ravel()[local.col], local.data
    vertices, matrix = load.coupled_stiffness(positions)
    own = unknown[vertices].ravel()
    single, blocks = load.stiffness(positions)
    row = np.broadcast_to(unknown[single][:, :, None], blocks.shape).ravel()
    column = np.broadcast_to(unknown[single][:, None, :], blocks.shape).ravel()
    return (
        np.concatenate([np.repeat(own, len(own)), row]),
        np.concatenate([np.tile(own, len(own)), column]),
        np.concatenate([matrix.ravel(), blocks.ravel()]),
    )
