"""Linear systems: one after another, with one pattern and values that change slowly.

`Direct` factors a tangent once (MUMPS; Amestoy 2001, SIAM J Matrix Anal Appl 23:15), LDLᵀ where it is symmetric, in
single precision, and solves later ones by GMRES on that factor (Saad & Schultz 1986, SIAM J Sci Stat Comput 7:856)
until this takes longer than factoring anew.

`Iterative` is for systems too large to factor. Displacements are preconditioned by a multigrid cycle on aggregates of
nodes that knows the six rigid-body motions (GAMG; Vaněk, Mandel & Brezina 1996, Computing 56:179), the pressures of
a mixed element by their mass scaled with 1/µ + 1/K, which is spectrally equivalent to the Schur complement (Elman,
Silvester & Wathen 2014, ch. 4); conjugate gradients or flexible GMRES go on from there.

Both solve to the tolerance they are asked for, and say so with an ArithmeticError when they cannot.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import count
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from solver.backend import PETSc, assemble_matrix, compile_form, create_matrix, ufl
from solver.elements import Element
from solver.errors import SolverError

Array = NDArray[np.float64]

# More unknowns than these are solved iteratively first, which then takes less time and far less memory; where that
# fails, up to as many as the second number are factored all the same.
LARGEST_DIRECT = 80_000
LARGEST_FALLBACK = 500_000
# A factor in single precision that needs more iterations than these on its own matrix has lost too much.
SINGLE_PATIENCE = 30
ITERATIONS = 400
RESTART = 80

_numbers = count()

MULTIGRID = {
    "pc_type": "gamg",
    "pc_gamg_type": "agg",
    "pc_gamg_reuse_interpolation": True,
    "mg_levels_ksp_type": "chebyshev",
    # Cheaper in all than Gauss-Seidel, and the same on any number of processes.
    "mg_levels_pc_type": "jacobi",
    "mg_levels_ksp_max_it": 3,
}


class LinearSolver(ABC):
    """What `Direct` and `Iterative` have in common.

    Parameters
    ----------
    element : Element

    Attributes
    ----------
    iterations, factorisations : int
        Krylov iterations and factorisations (or set-ups) so far.
    """

    def __init__(self, element: Element) -> None:
        self.element = element
        self.iterations = self.factorisations = 0
        self._prefix = f"organtwin_{next(_numbers)}_"
        self._krylov: Any = None
        self._source: Any = None
        self._set: list[str] = []
        self._ready = False

    def update(self, matrix: PETSc.Mat) -> None:
        """Take a new matrix of the same pattern; what is factored stays a preconditioner."""
        # PETSc forgets it whenever values change.
        option: Any = PETSc.Mat.Option.SYMMETRIC
        matrix.setOption(option, self.element.symmetric)
        if self._krylov is None:
            self._krylov = PETSc.KSP().create(matrix.getComm())
            self._krylov.setOptionsPrefix(self._prefix)
            self._solution, self._load = matrix.createVecRight(), matrix.createVecLeft()
            self._set_up(matrix)
        self._krylov.getPC().setReusePreconditioner(self._ready)
        self._krylov.setOperators(matrix, self._source or matrix)
        self._matrix = matrix

    def _prepare(self) -> None:  # noqa: B027
        """Bring the matrix that the preconditioner is made from up to date, where it is another one."""

    @abstractmethod
    def _set_up(self, matrix: PETSc.Mat) -> None:
        """Choose the Krylov method and its preconditioner."""

    def _options(self, options: dict[str, Any], inner: str = "") -> None:
        """Set PETSc options of this solver alone, and remember them for its end."""
        database: Any = PETSc.Options()
        for name, value in options.items():
            database[f"{self._prefix}{inner}{name}"] = value
            self._set.append(f"{self._prefix}{inner}{name}")

    def _renew(self) -> None:
        """Factor, or set up, for the present matrix."""
        self.factorisations += 1
        self._prepare()
        self._krylov.setOperators(self._matrix, self._source or self._matrix)
        self._krylov.getPC().setReusePreconditioner(False)
        try:
            self._krylov.setUp()
        except PETSc.Error as error:
            raise ArithmeticError("the tangent could not be factored") from error
        self._ready = self._krylov.getPC().getFailedReason() == 0
        self._krylov.getPC().setReusePreconditioner(True)

    def _attempt(self, tolerance: float, iterations: int, guess: bool = False) -> bool:
        """Whether the tolerance is met within some iterations, from the present solution or from zero."""
        self._krylov.setInitialGuessNonzero(guess)
        self._krylov.setTolerances(rtol=tolerance, atol=0.0, max_it=iterations)
        self._krylov.solve(self._load, self._solution)
        self.last = int(self._krylov.getIterationNumber())
        self.iterations += self.last
        return int(self._krylov.getConvergedReason()) > 0

    def _put(self, load: Array) -> None:
        self._load.array[: len(load)] = load
        self._load.array[len(load) :] = 0.0

    @abstractmethod
    def solve(self, load: Array, tolerance: float) -> Array:
        """Solution whose residual is at most `tolerance` times the load, of the entries the load has.

        A factor measures both as lengths, after its own solution with them; multigrid measures the forces.

        Raises
        ------
        ArithmeticError
            If there is none to be found.
        """

    def approximate(self, load: Array) -> Array:
        """What the preconditioner alone takes for the solution."""
        self._put(load)
        self._krylov.getPC().apply(self._load, self._solution)
        return np.array(self._solution.array[: len(load)])

    def destroy(self) -> None:
        """Free what PETSc holds; it does not count its own memory against Python's."""
        database = PETSc.Options()
        for name in self._set:
            database.delValue(name)
        if self._krylov is not None:
            for held in (self._krylov, self._solution, self._load, self._source):
                if held is not None:
                    held.destroy()


class Direct(LinearSolver):
    """A factor, and GMRES that makes it last; see the module."""

    def __init__(self, element: Element, single: bool = True) -> None:
        super().__init__(element)
        self._single = single
        self._patience = 20

    def _set_up(self, matrix: PETSc.Mat) -> None:
        precision = {"pc_precision": "single"} if self._single else {}
        # Room for delayed pivots: indefinite systems need more than the estimate.
        self._options({"mat_mumps_icntl_14": 80, "mat_mumps_icntl_7": 5, **precision})
        self._krylov.setType("gmres")
        self._krylov.setGMRESRestart(60)
        factoring = self._krylov.getPC()
        factoring.setType("cholesky" if self.element.symmetric else "lu")
        factoring.setFactorSolverType("mumps")
        self._krylov.setFromOptions()

    def _prepare(self) -> None:
        # MUMPS takes the blocks of a symmetric matrix from one triangle only.
        if self.element.symmetric and self._matrix.getType().endswith("baij"):
            self._source = self._source or PETSc.Mat()
            self._matrix.convert(self._matrix.getType().replace("baij", "sbaij"), self._source)

    def _renew(self) -> None:
        super()._renew()
        if not self._ready:
            return
        factor = self._krylov.getPC().getFactorMatrix()
        entries = factor.getMumpsInfog(29)
        entries = -1e6 * entries if entries < 0 else entries
        # Flops of a factorisation run about ten times as fast as those of its use, which wait for memory.
        self._patience = int(np.clip(factor.getMumpsRinfog(3) / (40.0 * max(1, entries)), 5, 60))

    def solve(self, load: Array, tolerance: float) -> Array:
        """See `LinearSolver.solve`."""
        self._put(load)
        known = self._ready
        if not (known and self._attempt(tolerance, self._patience)):
            self._renew()
            if not (self._ready and self._attempt(tolerance, SINGLE_PATIENCE, known)):
                self._to_double(tolerance)
        return np.array(self._solution.array[: len(load)])

    def _to_double(self, tolerance: float) -> None:
        """Start again with a factor in double precision."""
        if self._single:
            matrix, load = self._krylov.getOperators()[0], self._load.copy()
            self.destroy()
            self._krylov, self._source, self._ready, self._single, self._set = None, None, False, False, []
            self._prefix = f"organtwin_{next(_numbers)}_"
            self.update(matrix)
            load.copy(self._load)
            load.destroy()
            self._renew()
            if self._ready and self._attempt(tolerance, SINGLE_PATIENCE):
                return
        raise ArithmeticError("the tangent is singular")


class Iterative(LinearSolver):
    """Multigrid for displacements, a scaled mass for pressures; see the module."""

    def __init__(self, element: Element) -> None:
        super().__init__(element)
        self._mass: Any = None
        self._digit = float(ITERATIONS)

    def _set_up(self, matrix: PETSc.Mat) -> None:
        definite = self.element.symmetric and not self.element.mixed
        self._krylov.setType("cg" if definite else "fgmres")
        # The true residual, so that the tolerance means the same whatever the preconditioner.
        self._krylov.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
        if not definite:
            self._krylov.setGMRESRestart(RESTART)
        if self.element.mixed:
            self._split()
        else:
            self._options(MULTIGRID)
        self._krylov.setFromOptions()

    def _prepare(self) -> None:
        if self.element.mixed:
            return
        # Aggregation reads single rows.
        self._source = self._source or PETSc.Mat()
        self._matrix.convert("aij", self._source)
        if not self._source.getNearNullSpace().handle:
            motions = self._rigid_motions()
            self._source.setNearNullSpace(motions)
            motions.destroy()

    def _split(self) -> None:
        """Displacements first, pressures by the Schur complement."""
        element, comm = self.element, self.element.body.processes.comm
        first = element.first_unknown
        moved = PETSc.IS().createGeneral((element.displacements.ravel() + first).astype(PETSc.IntType), comm)
        moved.setBlockSize(3)
        motions = self._rigid_motions()
        moved.compose("nearnullspace", motions)
        pressed = PETSc.IS().createGeneral((element.pressures + first).astype(PETSc.IntType), comm)
        split = self._krylov.getPC()
        split.setType("fieldsplit")
        split.setFieldSplitIS(("u", moved), ("p", pressed))
        for held in (motions, moved, pressed):
            held.destroy()
        split.setFieldSplitType(PETSc.PC.CompositeType.SCHUR)
        split.setFieldSplitSchurFactType(PETSc.PC.FieldSplitSchurFactType.UPPER)
        self._mass = self._scaled_mass()
        split.setFieldSplitSchurPreType(PETSc.PC.FieldSplitSchurPreType.USER, self._mass)
        self._options({"ksp_type": "preonly", **MULTIGRID}, "fieldsplit_u_")
        self._options({"ksp_type": "preonly", "pc_type": "sor", "pc_sor_its": 3}, "fieldsplit_p_")

    def _scaled_mass(self) -> PETSc.Mat:
        """−(1/µ + 1/K) times the mass of the pressures, in place of their Schur complement."""
        body, space = self.element.body, self.element.pressure_space
        p, q = ufl.TrialFunction(space), ufl.TestFunction(space)
        mass = compile_form(
            -(1 / body.shear + 1 / body.bulk) * p * q * body.dx(metadata={"quadrature_degree": 2})
        )
        matrix = create_matrix(mass)
        assemble_matrix(matrix, mass)
        matrix.assemble()
        return matrix

    def _rigid_motions(self) -> PETSc.NullSpace:
        """Translations and rotations of the nodes: what multigrid must carry to its coarse levels."""
        element = self.element
        nodes = element.interpolation @ element.body.reference_points
        coordinates = PETSc.Vec().createWithArray(nodes.ravel(), bsize=3, comm=element.body.processes.comm)
        motions = PETSc.NullSpace().createRigidBody(coordinates)
        coordinates.destroy()
        return motions

    def solve(self, load: Array, tolerance: float) -> Array:
        """See `LinearSolver.solve`."""
        self._put(load)
        known, digits = self._ready, -np.log10(tolerance)
        if not (known and self._attempt(tolerance, int(1.5 * self._digit * digits) + 5)):
            self._renew()
            if not (self._ready and self._attempt(tolerance, ITERATIONS, known)):
                return self._by_factor(load, tolerance)
            if not known:
                self._digit = self.last / digits
        return np.array(self._solution.array[: len(load)])

    def _by_factor(self, load: Array, tolerance: float) -> Array:
        """The same by a factor, where it fits."""
        if self.element.all_unknowns > LARGEST_FALLBACK:
            raise ArithmeticError(f"the linear system was not solved in {ITERATIONS} iterations")
        factor = Direct(self.element)
        try:
            factor.update(self._matrix)
            return factor.solve(load, tolerance)
        finally:
            factor.destroy()

    def destroy(self) -> None:
        """See `LinearSolver.destroy`."""
        super().destroy()
        if self._mass is not None:
            self._mass.destroy()


LinearName = Literal["by size", "direct", "iterative"]


def solver_for(element: Element, name: LinearName = "by size") -> LinearSolver:
    """Linear solver by its name, or the one that suits the number of unknowns.

    Raises
    ------
    SolverError
        If the name is unknown or the element has no iterative solver.
    """
    if name not in get_args(LinearName):
        raise SolverError(f"The linear solver '{name}' is unknown; use {', '.join(get_args(LinearName))}.")
    # Its pressures are eliminated unknowns that only the augmented tangent has: nothing to precondition by blocks.
    if element.name == "P1-averaged":
        if name == "iterative":
            raise SolverError("The element 'P1-averaged' is solved directly; use 'P1-P1' for large meshes.")
        return Direct(element)
    if name == "direct" or (name == "by size" and element.all_unknowns <= LARGEST_DIRECT):
        return Direct(element)
    return Iterative(element)


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
