"""LiveLoad: whatever adds energy to the live tissue beside its own: contact, sutures, pressure, inertia, damping.

A load is a value. It is never changed, only replaced: by `begun` when time passes, by `committed` when a step was
accepted (a stick point has moved, a history has grown), and by `carried` when the topology changes. So a snapshot of
the live tissue holds its loads as they are, and undo costs nothing.

A force without an energy (a pressure that follows its surface, friction beyond its limit) takes the energy of the
force as it was when the step began: fixed for the length of a step it has one, −f·x, and steps are short.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from solver.errors import SolverError
from solver.topology import TopologyChange

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


class LiveLoad(ABC):
    """Energy that depends on where the vertices are, with its gradient and a simple part of its stiffness.

    Attributes
    ----------
    coupled : bool
        Whether every step solves for the load's forces exactly (`solver.coupling`), as stiff loads need that come
        and go at a few vertices; then `coupled_stiffness` is its whole stiffness.
    """

    coupled: ClassVar[bool] = False

    @abstractmethod
    def evaluate(self, positions: Array) -> tuple[float, Array]:
        """Energy and its gradient.

        Parameters
        ----------
        positions : ndarray, shape (n, 3), float64
            Of the vertices, OrganMesh order, mm, LPS.

        Returns
        -------
        energy : float
            µJ; infinite where the positions are not allowed.
        gradient : ndarray, shape (n, 3), float64
            ∂energy/∂positions, mN: minus the force on the tissue.
        """

    def stiffness(self, positions: Array) -> tuple[Ints, Array]:
        """The part of the second derivative that joins each vertex to itself, positive semidefinite.

        Returns
        -------
        vertices : ndarray, shape (k,), int64
        blocks : ndarray, shape (k, 3, 3), float64
            mN/mm. It only preconditions: what it leaves out costs iterations, not accuracy. Nothing by default.
        """
        return np.zeros(0, dtype=np.int64), np.zeros((0, 3, 3))

    def coupled_stiffness(self, positions: Array, convex: bool = False) -> tuple[Ints, Array]:
        """Second derivative of the energy of a `coupled` load, among the vertices where it is not zero.

        Parameters
        ----------
        positions : ndarray, shape (n, 3), float64
        convex : bool
            Only what is surely positive semidefinite of it.

        Returns
        -------
        vertices : ndarray, shape (k,), int64
            Ascending.
        matrix : ndarray, shape (3 k, 3 k), float64
            Symmetric, mN/mm.
        """
        return np.zeros(0, dtype=np.int64), np.zeros((0, 0))

    @property
    def tolerance_mm(self) -> float:
        """How near to its end a step has to come, mm, where that is nearer than others need."""
        return np.inf

    @property
    def lag_mm(self) -> float:
        """How far a tool of the load is behind where it is to be, mm."""
        return 0.0

    def tools_mm(self) -> dict[str, Array]:
        """Where the tools of the load are, by name, mm, LPS."""
        return {}

    def to(self, position_mm: Array) -> LiveLoad:
        """The load with its tool told to go to a position, mm, LPS; nothing moves yet.

        Raises
        ------
        SolverError
            If it has no tool.
        """
        raise SolverError("This load has no tool that could be moved.")

    def followed(self, positions: Array) -> LiveLoad:
        """The load before an iteration, its tools farther on their way."""
        return self

    def allowed_share(self, positions: Array, step: Array) -> float:
        """Share of a step of the tissue, shape (n, 3), mm, that may be taken at once; 0 to 1."""
        return 1.0

    def forces_N(self, positions: Array) -> dict[str, Array]:
        """Forces a person is to see, by the tool's name: with which each tool pushes the tissue, N, LPS."""
        return {}

    def begun(self, positions: Array, seconds: float) -> LiveLoad:
        """The load at the beginning of a step during which so many seconds of the rehearsal pass."""
        return self

    def committed(self, positions: Array, time_s: float) -> LiveLoad:
        """The load after a step was accepted at these positions and this time of the rehearsal."""
        return self

    @abstractmethod
    def carried(self, change: TopologyChange) -> LiveLoad:
        """The same load on the mesh after a change of topology."""
