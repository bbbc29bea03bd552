"""The reference tier: static equilibrium by load stepping and Newton's method, every step checked.

The load (gravity, surface loads, moved vertices) is put on in steps. Each step starts from the secant
through the last two equilibria, or from one linear solve that carries the moved vertices along, and is
brought to equilibrium by Newton's method with backtracking. A step counts only if Newton converged, every
value is finite and J stays above 0.3 at every quadrature point: a residual can vanish on a branch where the
tissue is turned inside out. A step that fails is taken back and halved (Bonet & Wood 2008, ch. 9; Wriggers 2008,
ch. 5). When halving does not help, the path of equilibria may have ended, as when a shallow dome snaps through: the
body is let come to rest from there (pseudo-transient continuation). Failing that too, the solve is refused, saying
where and why, and nothing of it is kept.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anatomy.progress import Progress, silent
from solver.backend import PETSc
from solver.body import Body
from solver.contact import Contacts
from solver.elements import Element, ElementName, make_element
from solver.errors import SolverError
from solver.linear import LinearName, LinearSolver, solver_for
from solver.loads import Load
from solver.state import State, start_from
from solver.stepping import (
    FOLDED,
    MINIMUM_JACOBIAN,
    StepFailed,
    check_shape,
    checked_prescribed,
    fixed_unknowns,
    where_force,
    where_jacobian,
)

Array = NDArray[np.float64]
Index = NDArray[np.int64]

RELATIVE_RESIDUAL = 1e-9
NEWTON_ITERATIONS = 20
AUGMENTATIONS = 30
SMALLEST_STEP = 1.0 / 512
LEAP = 1.0 / 32
RELAXATIONS = 120
# The imbalance of volumes is a small number beside that of forces: a loose solution leaves it as it is.
LOOSEST_FORCING, LOOSEST_MIXED_FORCING = 1e-2, 1e-4
NEGLIGIBLE_STRAIN = 1e-6


class Equilibrium:
    """Static equilibrium of a body.

    Parameters
    ----------
    body : Body
    element : {"P2-P1", "P1-P1", "P2", "P1", "P1-averaged"}
        See `solver.elements`. "P1-averaged" gives the exact equilibrium of the live tier's own
        discretisation.
    loads : sequence of Load
        Surface loads on patches of the body.
    linear : {"by size", "direct", "iterative"}
        How linear systems are solved, see `solver.linear`: by a factor, or by multigrid. The second takes less
        memory and, from about 80,000 unknowns on, less time; the default chooses by that.

    Raises
    ------
    SolverError
        If the element does not suit a tissue.
    """

    def __init__(
        self,
        body: Body,
        element: ElementName = "P2-P1",
        loads: Sequence[Load] = (),
        linear: LinearName = "by size",
    ) -> None:
        self.body, self.linear = body, linear
        self.element: Element = make_element(body, element, loads)

    def solve(
        self,
        prescribed: tuple[ArrayLike, ArrayLike] | None = None,
        gravity: bool = True,
        steps: int = 1,
        start: State | Array | None = None,
        progress: Progress = silent,
    ) -> State:
        """Bring the body to equilibrium.

        Parameters
        ----------
        prescribed : (vertices, displacements), optional
            Vertex indices, shape (k,), OrganMesh order, and their displacement from the scanned shape, mm,
            shape (k, 3); NaN leaves a component free. Midpoints of element edges between two such vertices
            follow.
        gravity : bool
            False switches the body's gravity off.
        steps : int
            Load steps to begin with; more are taken where they are needed.
        start : State or ndarray, shape (n, 3), optional
            Equilibrium of the same body, or displacement from the scanned shape in mm, to start from; default the
            stress-free shape, or the scanned shape where the body knows its stress-free one.
        progress : Progress

        Returns
        -------
        State

        Raises
        ------
        SolverError
            If a piece of the body is not held, the input is malformed, or no equilibrium was reached; the
            message names where and why. The body is unchanged, and so are its contacts.
        """
        began = time.perf_counter()
        vertices, target = checked_prescribed(self.body, prescribed)
        self.body.check_supported(vertices, np.isfinite(target), self.element.loads)
        path = None
        try:
            path = _Path(self, vertices, target, gravity, start)
            x, iterations, taken = path.follow(steps, progress)
            state = self._state(path, x, iterations, taken, time.perf_counter() - began)
        except BaseException:
            if path is not None:
                path.contacts.undo()
            raise
        finally:
            if path is not None:
                path.linear.destroy()
            if self.body.processes.count > 1:
                self.element.destroy()
            # The forms of a body are shared: leave its own gravity in them.
            self.body.gravity.value[:] = self.body.gravity_mm_s2
        progress("equilibrium", 1.0)
        return state

    def _state(self, path: _Path, x: Array, iterations: int, steps: int, seconds: float) -> State:
        element = self.element
        residual = element.residual(x)
        forces = element.forces_at_vertices(residual)
        from_reference = element.at_vertices(x)
        return State(
            displacement=from_reference - self.body.scanned_displacement,
            from_reference=from_reference,
            pressure_kPa=element.pressure(x),
            held=path.vertices,
            reaction_mN=np.where(np.isfinite(path.target), forces[path.vertices], 0.0),
            minimum_jacobian=path.lowest(element.jacobians(x)),
            strain_energy_uJ=element.strain_energy(x),
            residual=path.relative(residual),
            iterations=iterations,
            steps=steps,
            seconds=seconds,
            element=element.name,
            solution=x,
            unknowns=element.all_unknowns,
            relaxed=path.relaxed,
            linear_iterations=path.linear.iterations,
        )


class _Path:
    """One solve: the load between a start and its target, and the steps along it."""

    def __init__(
        self, solver: Equilibrium, vertices: Index, target: Array, gravity: bool, start: State | Array | None
    ) -> None:
        self.element, self.body = solver.element, solver.body
        self.processes = self.body.processes
        volumes_apart = self.element.mixed or self.element.name == "P1-averaged"
        self.loosest = LOOSEST_MIXED_FORCING if volumes_apart else LOOSEST_FORCING
        self.linear: LinearSolver = solver_for(self.element, solver.linear)
        self.vertices, self.target = vertices, target
        known = bool(np.any(self.body.scanned_displacement))
        self.x0 = start_from(self.element, start)
        self.contacts = Contacts(self.element, self.x0)
        self._grow_loads = start is None and not known
        self.gravity = self.body.gravity_mm_s2 if gravity else np.zeros(3)
        self.fixed, self.final = fixed_unknowns(self.element, vertices, target)
        self.free = np.setdiff1d(np.arange(self.element.unknowns), self.fixed)
        self.loads = self._forces_at_start()
        self.iterations = 0
        self.relaxed = False

    def load(self, share: float) -> None:
        """Put on this share of the load."""
        part = share if self._grow_loads else 1.0
        self.body.gravity.value[:] = self.gravity * part
        self.element.share.value[()] = part
        self.contacts.follow(share)

    def _grows(self) -> bool:
        """Whether a smaller share of the load is another problem at all."""
        return self._grow_loads or self.contacts.moving or self._any(self.held_at(0.0) - self.final)

    def held_at(self, share: float) -> Array:
        """Values of the prescribed unknowns at this share of the load."""
        begin = self.x0[self.fixed]
        return begin + share * (self.final - begin)

    # ------------------------------------------------------------------ stepping

    def follow(self, steps: int, progress: Progress) -> tuple[Array, int, int]:
        """Equilibrium under the whole load, Newton iterations and steps taken."""
        share, step, x, last, taken = 0.0, 1.0 / max(1, steps), self.x0, None, 0
        while share < 1.0:
            step = min(step, 1.0 - share)
            # A remainder of rounding is no step of its own.
            upto = 1.0 if 1.0 - share - step < 1e-9 else share + step
            try:
                y, spent = self._settled(*self._step(x, last, share, upto))
            except StepFailed as failure:
                self.contacts.back()
                step *= min(0.5, max(0.05, failure.reach))
                if step >= SMALLEST_STEP and self._grows():
                    continue
                upto = min(1.0, share + LEAP) if self._grows() else 1.0
                y, spent = self._leap(x, share, upto, failure)
                last, step = None, LEAP
            else:
                last = (x, share)
                step *= 2.0 if spent <= 6 else 1.0 if spent <= 10 else 0.5
            x, share, taken = y, upto, taken + 1
            progress("equilibrium", 0.99 * share)
        return x, self.iterations, taken

    def _leap(self, x: Array, share: float, upto: float, failure: StepFailed) -> tuple[Array, int]:
        """Equilibrium past a point where the path of equilibria ends, or the refusal for want of one."""
        try:
            y = self._settled(self._relax(x, upto), NEWTON_ITERATIONS)[0]
        except StepFailed:
            raise SolverError(
                f"No equilibrium beyond {share:.1%} of the load: {failure}; "
                "load or pull less, spread the load over a larger patch, or refine the mesh there."
            ) from failure
        self.relaxed = True
        return y, NEWTON_ITERATIONS

    def _step(
        self, x: Array, last: tuple[Array, float] | None, share: float, upto: float
    ) -> tuple[Array, int]:
        """Equilibrium at `upto` of the load from that at `share`, and its iterations."""
        self.load(upto)
        if last is None:
            return self._newton(x.copy(), self.held_at(upto) - x[self.fixed])
        before, at = last
        guess = x + (x - before) * (upto - share) / (share - at)
        guess[self.fixed] = self.held_at(upto)
        if self.lowest(self.element.jacobians(guess)) < MINIMUM_JACOBIAN:
            return self._newton(x.copy(), self.held_at(upto) - x[self.fixed])
        return self._newton(guess, np.zeros(len(self.fixed)))

    def _settled(self, x: Array, spent: int) -> tuple[Array, int]:
        """Equilibrium with the contact pressures that hold every shape out, and the iterations of all."""
        for _ in range(AUGMENTATIONS):
            if not self.contacts.augment(x):
                self.contacts.commit(x)
                return x, spent
            x, more = self._newton(x.copy(), np.zeros(len(self.fixed)))
            spent = max(spent, more)
        raise StepFailed(f"contact did not settle in {AUGMENTATIONS} augmentations")

    def _newton(self, x: Array, move: Array) -> tuple[Array, int]:
        """Newton's method from x; `move` is what the prescribed unknowns still lack."""
        residual = self.element.residual(x)
        forcing, balanced = self.loosest, False
        for iteration in range(1, NEWTON_ITERATIONS + 1):
            self.iterations += 1
            before = self.size(residual)
            x, residual = self._iterate(x, residual, move, forcing)
            left = self.relative(residual)
            # Where the last step only just sufficed one more is cheap, and makes soft parts beside stiff ones right.
            if left < RELATIVE_RESIDUAL and (left < 0.1 * RELATIVE_RESIDUAL or balanced):
                check_shape(self.element, x)
                return x, iteration
            balanced = left < RELATIVE_RESIDUAL
            moved = self._any(move)
            forcing = self.loosest if moved else self._forcing(self.size(residual) / before, left)
            move = np.zeros_like(move)
        raise StepFailed(
            f"Newton's method did not converge in {NEWTON_ITERATIONS} iterations "
            f"(residual {self.relative(residual):.1e}, {where_force(self.element, residual, self.fixed)})"
        )

    def _relax(self, x: Array, upto: float) -> Array:
        """Pseudo-transient continuation (Kelley & Keyes 1998, SIAM J Numer Anal 35:508): implicit steps along the flow
        D x' = −r(x), D the diagonal stiffness of the displacements. Its steps grow as the imbalance falls (switched
        evolution relaxation) and end as Newton's. The flow comes to rest where the tissue would, had it no mass: past a
        limit point in the shape it snaps to.
        """
        self.load(upto)
        x = x.copy()
        x[self.fixed] = self.held_at(upto)
        damping = self._diagonal(x)
        residual = self.element.residual(x)
        moved = self.element.displacements.ravel()
        drag = 1.0
        for _ in range(RELAXATIONS):
            self.iterations += 1
            forcing = min(1e-3, self.loosest)
            change = self._solve(x, residual, np.zeros(len(self.fixed)), forcing, drag * damping)[0]
            y = x + change
            after = self.element.residual(y)
            growth = self.size(after) / max(self.size(residual), 1e-300)
            # Energy that the step sets free, by the trapezoidal rule; a flow must not gain any.
            gained = self.processes.total(float(np.vdot((residual + after)[moved], change[moved])))
            if not (self.lowest(self.element.jacobians(y)) > FOLDED and (gained <= 0.0 or growth < 0.5)):
                drag *= 4.0
                continue
            drag *= float(np.clip(growth, 0.1, 0.5))
            x, residual = y, after
            if self.relative(residual) < RELATIVE_RESIDUAL:
                check_shape(self.element, x)
                return x
        raise StepFailed(
            f"the tissue does not come to rest ({where_force(self.element, residual, self.fixed)})"
        )

    def _diagonal(self, x: Array) -> Array:
        """Stiffness of every displacement against itself, zero for other unknowns."""
        diagonal = self.element.operator(x).getDiagonal()
        stiffness = np.zeros(diagonal.getLocalSize())
        moved = self.element.displacements.ravel()
        stiffness[moved] = np.abs(diagonal.array[moved])
        diagonal.destroy()
        return stiffness

    def _forcing(self, gain: float, left: float) -> float:
        """How accurately the next linear system is worth solving (Eisenstat & Walker 1996, SIAM J Sci Comput 17:16,
        choice 2): as far as the last step was quadratic, but not beyond what ends the iteration.
        """
        return min(self.loosest, max(0.9 * gain**2, 0.01 * RELATIVE_RESIDUAL / left))

    def _any(self, move: Array) -> bool:
        return not self.processes.every(not np.any(move))

    def _iterate(self, x: Array, residual: Array, move: Array, forcing: float) -> tuple[Array, Array]:
        """One Newton step, shortened where it must be, and the residual after it."""
        change, load = self._solve(x, residual, move, forcing)
        return self._damp(x, change, load, whole=self._any(move))

    def _solve(
        self, x: Array, residual: Array, move: Array, forcing: float, drag: Array | None = None
    ) -> tuple[Array, Array]:
        """Solution of the linearised equations at x, and their right-hand side; `drag` is added to their diagonal."""
        load, known = -residual, len(residual)
        matrix = self.element.operator(x)
        if self._any(move):
            # An augmented tangent has rows of its own, which prescribed movement enters too.
            moved = self._force_of(matrix, move)
            load = np.concatenate([load, np.zeros(len(moved) - known)]) - moved
        load[self.fixed] = 0.0
        if drag is not None:
            added = matrix.createVecLeft()
            added.array[:] = drag
            matrix.setDiagonal(added, addv=True)
            added.destroy()
        matrix.zeroRowsColumns((self.element.first_unknown + self.fixed).astype(PETSc.IntType), 1.0)
        self.linear.update(matrix)
        try:
            change = self.linear.solve(load, forcing)[:known]
        except ArithmeticError as error:
            raise StepFailed(str(error)) from error
        change[self.fixed] = move
        if not self.processes.every(bool(np.isfinite(change).all())):
            raise StepFailed("the tangent is singular")
        return change, load[:known]

    def _force_of(self, matrix: PETSc.Mat, move: Array) -> Array:
        """Force that a displacement of the prescribed unknowns makes, in every row of the matrix."""
        moved, force = matrix.createVecRight(), matrix.createVecLeft()
        moved.array[self.fixed] = move
        matrix.mult(moved, force)
        result: Array = np.array(force.array, dtype=np.float64)
        moved.destroy()
        force.destroy()
        return result

    def _damp(self, x: Array, change: Array, load: Array, whole: bool) -> tuple[Array, Array]:
        """Longest of the steps 1, ½, ¼ … along `change` that leaves the tissue unfolded and brings the solution
        closer: the step that would follow must be shorter than this one, both measured with one preconditioner
        (natural monotonicity; Deuflhard 2011, Newton Methods for Nonlinear Problems, § 3.3). A step that carries moved
        vertices along must be taken whole.
        """
        length, shortest = 1.0, 1.0 if whole else 1e-3
        distance = 0.0 if whole else self._distance(self.linear.approximate(load))
        while length >= shortest:
            y = x + length * change
            if self.lowest(self.element.jacobians(y)) > FOLDED:
                residual = self.element.residual(y)
                if self.processes.every(bool(np.isfinite(residual).all())):
                    if whole or self.relative(residual) < RELATIVE_RESIDUAL:
                        return y, residual
                    load = -residual
                    load[self.fixed] = 0.0
                    if self._distance(self.linear.approximate(load)) <= (1 - length / 4) * distance:
                        return y, residual
            length /= 2
        worst = self.element.jacobians(x + 2 * length * change)
        if self.lowest(worst) > FOLDED:
            raise StepFailed(f"Newton's method finds no way on ({where_jacobian(self.body, worst)})")
        raise StepFailed(f"the tissue folds ({where_jacobian(self.body, worst)})", self._reach(x, change))

    def _distance(self, change: Array) -> float:
        """Length of the displacement in a change of the unknowns."""
        return self.processes.norm(change[self.element.displacements])

    def lowest(self, jacobians: Array) -> float:
        """Smallest J of all processes."""
        return self.processes.smallest(jacobians)

    def _reach(self, x: Array, change: Array) -> float:
        """Part of a change that leaves J above one half everywhere."""
        part = 0.5
        while part > 0.05 and self.lowest(self.element.jacobians(x + part * change)) < 0.5:
            part *= 0.7
        return part

    # ------------------------------------------------------------------ measures

    def size(self, residual: Array) -> float:
        """Size of the out-of-balance force."""
        return self.processes.norm(residual[self.free])

    def relative(self, residual: Array) -> float:
        """Out-of-balance force against the forces in play: loads, reactions here, and the imbalance at the start.

        Forces met on the way are no measure: a trial that stiffens exponentially would make any residual small.
        """
        return self.size(residual) / (self.loads + self.processes.norm(residual[self.fixed]))

    def _forces_at_start(self) -> float:
        """Whole load, and the imbalance that the start has under it, mN."""
        self.load(1.0)
        loaded = self.element.residual(self.x0)
        self.body.gravity.value[:] = 0.0
        self.element.share.value[()] = 0.0
        unloaded = self.element.residual(self.x0)
        # Forces that would strain the body less than this are rounding; they are not to be balanced any further.
        shear = max(tissue.law.initial_shear_kPa for tissue in self.body.tissues.values())
        volume = self.processes.total(float(self.body.rest_volumes.sum()))
        rounding = NEGLIGIBLE_STRAIN * shear * volume ** (2 / 3)
        return max(rounding, self.size(loaded - unloaded) + self.size(loaded))
