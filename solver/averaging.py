"""Nodal averaging of the change of volume: linear tetrahedra that do not lock.

A linear tetrahedron has one J; asking each of them to keep its volume leaves too little freedom (locking).
Bonet & Burton (1998, Commun Numer Methods Eng 14:437) ask it of the mean over the tetrahedra around each
vertex instead:

    J̄_i = Σ_e V_e/4 J_e / V_i,   V_i = Σ_e V_e/4,
    Π_vol = (1 − β) Σ_i V_i K/2 (J̄_i − 1)² + β Σ_e V_e K/2 (J_e − 1)².

A share β = 5 % stays unaveraged, which removes the pressure modes that averaging alone leaves free (Puso &
Solberg 2006, Int J Numer Methods Eng 67:841). Averages are taken tissue by tissue: a vertex between tissues
of different bulk modulus has one J̄ for each, so that pressure may jump across their interface as it does
in the body, and a soft tissue is not held by the volume of a stiff one. The pressure p_i = (1 − β) K (J̄_i
− 1) acts on a tetrahedron through its mean p₀ = ¼ Σ_i p_i, for J is constant there: δΠ = Σ_e V_e p₀ δJ_e.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Array = NDArray[np.float64]
Index = NDArray[np.int64]

STABILISATION = 0.05


class NodalAveraging:
    """Averaged change of volume on a mesh of linear tetrahedra.

    Parameters
    ----------
    tets : ndarray, shape (m, 4), int64
        Vertices of each cell.
    volumes : ndarray, shape (m,), float64
        Stress-free volumes, mm³.
    bulk : ndarray, shape (m,), float64
        Bulk modulus of each cell, kPa; equal values are one tissue.
    stabilisation : float
        Share β that stays unaveraged.

    Attributes
    ----------
    vertex, bulk : ndarray, shape (q,)
        Vertex and bulk modulus of each average: one a vertex and tissue.
    volumes : ndarray, shape (q,)
        V_i of each average, mm³.
    gather : scipy.sparse.csr_matrix, shape (q, m)
        One where a cell takes part in an average.
    """

    def __init__(
        self, tets: Index, volumes: Array, bulk: Array, stabilisation: float = STABILISATION
    ) -> None:
        self.stabilisation = stabilisation
        moduli, tissue = np.unique(bulk, return_inverse=True)
        pair = tets * len(moduli) + tissue[:, None]
        keys, row = np.unique(pair, return_inverse=True)
        cells = np.repeat(np.arange(len(tets)), 4)
        shape = (len(keys), len(tets))
        self.gather = csr_matrix((np.ones(tets.size), (row.ravel(), cells)), shape=shape)
        self._spread = self.gather.T.tocsr() / 4
        self._cell_volumes = volumes
        self.vertex = keys // len(moduli)
        self.bulk = moduli[keys % len(moduli)]
        self.volumes = self.gather @ volumes / 4

    def dilatation(self, jacobians: Array) -> Array:
        """J̄ of each average from the J of each cell, shape (q,)."""
        return np.asarray(self.gather @ (self._cell_volumes * jacobians) / 4 / self.volumes)

    def vertex_pressure(self, jacobians: Array) -> Array:
        """p of each average, kPa, shape (q,)."""
        return (1 - self.stabilisation) * self.bulk * (self.dilatation(jacobians) - 1)

    def pressure(self, jacobians: Array) -> Array:
        """p₀ of each cell, kPa, shape (m,)."""
        return np.asarray(self._spread @ self.vertex_pressure(jacobians))

    def energy(self, jacobians: Array) -> float:
        """Averaged volumetric energy, µJ."""
        strain = self.dilatation(jacobians) - 1
        return float((1 - self.stabilisation) / 2 * np.sum(self.volumes * self.bulk * strain**2))
