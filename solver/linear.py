"""Sparse direct solution of one linear system after another with the same pattern (MUMPS).

Symmetric systems are factored as LDLᵀ (MUMPS, Amestoy 2001, SIAM J Matrix Anal Appl 23:15), which takes the
indefinite matrices of mixed elements and costs half of LU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from solver.backend import PETSc

Array = NDArray[np.float64]


class Factor:
    """A factored sparse matrix.

    Parameters
    ----------
    matrix : scipy.sparse.csr_matrix
    symmetric : bool
        True factors as LDLᵀ and reads one triangle only.

    Raises
    ------
    ArithmeticError
        If the matrix is singular to working precision.
    """

    def __init__(self, matrix: csr_matrix, symmetric: bool = True) -> None:
        self.size = matrix.shape[0]
        matrix.sort_indices()
        csr = (matrix.indptr.astype(PETSc.IntType), matrix.indices.astype(PETSc.IntType), matrix.data)
        self._matrix = PETSc.Mat().createAIJ(size=matrix.shape, csr=csr, comm=PETSc.COMM_SELF)
        option: Any = PETSc.Mat.Option.SYMMETRIC
        self._matrix.setOption(option, symmetric)
        self._solver = PETSc.KSP().create(PETSc.COMM_SELF)
        self._solver.setType("preonly")
        self._solver.setOperators(self._matrix)
        factoring = self._solver.getPC()
        factoring.setType("cholesky" if symmetric else "lu")
        factoring.setFactorSolverType("mumps")
        factoring.setFactorSetUpSolverType()
        # Room for delayed pivots: indefinite systems need more than the estimate.
        factoring.getFactorMatrix().setMumpsIcntl(14, 80)
        try:
            self._solver.setUp()
        except PETSc.Error as error:
            self.destroy()
            raise ArithmeticError("the tangent could not be factored") from error
        if factoring.getFailedReason() != 0:
            self.destroy()
            raise ArithmeticError("the tangent is singular")
        self._solution, self._load = self._matrix.createVecRight(), self._matrix.createVecLeft()

    def solve(self, load: Array) -> Array:
        """Solution for one right-hand side."""
        self._load.array[:] = load
        self._solver.solve(self._load, self._solution)
        return np.array(self._solution.array)

    def destroy(self) -> None:
        """Free the factor; PETSc does not count its own memory against Python's."""
        for held in (self._solver, self._matrix):
            held.destroy()
        for vector in ("_solution", "_load"):
            if hasattr(self, vector):
                getattr(self, vector).destroy()
