"""Dynamics: movement of a body in time, with inertia, viscous damping and relaxation.

The equation of motion M a + C v + f(u) = 0, f being the out-of-balance force of an element under its loads, is
integrated by the generalised-α method (Chung & Hulbert 1993, J Appl Mech 60:371): displacements and velocities follow
Newmark, the balance holds between the ends of a step,

    M a_{n+1−α_m} + C v_{n+1−α_f} + f(u_{n+1−α_f}) = 0,

and α_m = (2ρ − 1)/(ρ + 1), α_f = ρ/(ρ + 1), γ = ½ − α_m + α_f, β = ¼ (1 − α_m + α_f)² leave of the highest frequencies
the share ρ a step, second order in time throughout. ρ = 1 is the midpoint rule, which keeps the energy of a linear
body; ρ = 0 forgets at once what the mesh cannot carry. The unknown is u at the time of balance, where also pressures,
relaxation (`solver.relaxation`), contact and reactions are taken. Mass is consistent. Damping is proportional to mass
(Rayleigh), or a Kelvin–Voigt stress 2 η d with the rate of deformation d, which no rigid movement feels (Holzapfel
2000, § 2.8). Without inertia the same steps, implicit with α_f = 0, follow creep and relaxation.

Every step is guarded as in `Equilibrium`: one that does not converge, folds or crushes the tissue is taken back and
halved, and in the end refused with the time, the place and the reason; the last good state stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix

from anatomy.progress import Progress, silent
from solver.backend import compile_form, fem, la, ufl
from solver.body import Body
from solver.contact import Contacts
from solver.damping import Damping, Viscosity
from solver.elements import Element, ElementName, make_element
from solver.equilibrium import AUGMENTATIONS
from solver.errors import SolverError
from solver.generalised_alpha import Scheme
from solver.linear import Factor
from solver.loads import Load
from solver.materials import PronySeries
from solver.relaxation import Relaxation
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
Prescribed = tuple[ArrayLike, ArrayLike]

RELATIVE_RESIDUAL = 1e-9
RESTING = 1e-10
NEWTON_ITERATIONS = 20
SMALLEST_PART = 1 / 64
NO_DAMPING = Damping()


@dataclass(frozen=True, eq=False)
class Instant:
    """A body at one time of its movement.

    Parameters
    ----------
    time_s : float
    displacement : ndarray, shape (n, 3), float64
        Of the organ's vertices from the scanned shape, mm.
    from_reference : ndarray, shape (n, 3), float64
        The same from the stress-free shape.
    velocity, acceleration : ndarray, shape (n, 3), float64
        mm/s and mm/s².
    pressure_kPa : ndarray, shape (n,) or None
        Volumetric stress at the vertices, positive in expansion: of mixed elements that at the time of balance.
    held : ndarray, shape (k,), int64
        Vertices whose displacement was prescribed.
    reaction_mN : ndarray, shape (k, 3), float64
        Force that holds each of them at the time of balance, inertia included.
    kinetic_energy_uJ, strain_energy_uJ : float
        µJ; the strain energy is the elastic one, without what relaxes.
    minimum_jacobian : float
        Smallest volume ratio at any quadrature point.
    iterations, steps : int
        Newton iterations and time steps since the last one.
    """

    time_s: float
    displacement: Array
    from_reference: Array
    velocity: Array
    acceleration: Array
    pressure_kPa: Array | None
    held: Index
    reaction_mN: Array
    kinetic_energy_uJ: float
    strain_energy_uJ: float
    minimum_jacobian: float
    iterations: int
    steps: int


class Dynamics:
    """Movement of a body.

    Parameters
    ----------
    body : Body
    element : {"P2-P1", "P1-P1", "P2", "P1", "P1-averaged"}
        See `solver.elements`.
    loads : sequence of Load
        Loads that have `at(time_s)` are brought to the time of balance of every step.
    rho_infinity : float
        Share ρ of the highest frequencies that a step leaves, 0 to 1.
    damping : Damping
    relaxation : PronySeries or mapping of structure name to PronySeries, optional
        Of every tissue, or of some.
    relaxed : bool
        Whether the tissues' constants are those of relaxed tissue; see `solver.relaxation`.
    inertia : bool
        False leaves the mass out.

    Attributes
    ----------
    time_s : float
        Since `start`.

    Raises
    ------
    SolverError
        If ρ is out of range, the element does not suit a tissue, or the body is spread over several processes.
    """

    def __init__(
        self,
        body: Body,
        element: ElementName = "P2-P1",
        loads: Sequence[Load] = (),
        rho_infinity: float = 0.8,
        damping: Damping = NO_DAMPING,
        relaxation: PronySeries | Mapping[str, PronySeries] | None = None,
        relaxed: bool = True,
        inertia: bool = True,
    ) -> None:
        if not 0 <= rho_infinity <= 1:
            raise SolverError(f"ρ∞ is {rho_infinity:g}; it lies between 0 and 1.")
        if body.processes.count > 1:
            raise SolverError("Dynamics runs on one process; build the body without `comm`.")
        self.body, self.rho_infinity, self.damping, self.inertia = body, rho_infinity, damping, inertia
        self.element: Element = make_element(body, element, loads)
        self.relaxation = None if relaxation is None else Relaxation(self.element, relaxation, relaxed)
        self._viscous = Viscosity(self.element, damping.viscosity_kPa_s)
        self._mass = _mass_matrix(self.element)
        self.start()

    def start(self, state: State | Array | None = None) -> None:
        """Begin at rest, at time zero.

        Parameters
        ----------
        state : State or ndarray, shape (n, 3), optional
            Equilibrium of the same body, or displacement from the scanned shape in mm, to begin from; default the
            scanned shape.
        """
        self._u = start_from(self.element, state)
        self._v, self._a = np.zeros_like(self._u), np.zeros_like(self._u)
        self.time_s = 0.0
        self._held: Index | None = None
        self._elapsed = 0.0
        if self.relaxation is not None:
            self.relaxation.begin(self._u)

    def run(
        self,
        duration_s: float,
        dt_s: float,
        prescribed: Callable[[float], Prescribed | None] | Prescribed | None = None,
        progress: Progress = silent,
    ) -> Iterator[Instant]:
        """Instants of a movement, one a time step.

        Parameters
        ----------
        duration_s, dt_s : float
        prescribed : callable or (vertices, displacements), optional
            As for `step`; a callable is given the time at the end of each step.
        progress : Progress

        Raises
        ------
        SolverError
            If a time is not positive, or a step fails.
        """
        for what, value in (("duration", duration_s), ("time step", dt_s)):
            if not (np.isfinite(value) and value > 0):
                raise SolverError(f"The {what} is {value:g} s; it must be positive.")
        count = max(1, round(duration_s / dt_s))
        for done in range(count):
            at = self.time_s + duration_s / count
            yield self.step(duration_s / count, prescribed(at) if callable(prescribed) else prescribed)
            progress("movement", (done + 1) / count)

    def step(self, dt_s: float, prescribed: Prescribed | None = None) -> Instant:
        """Move on in time.

        Parameters
        ----------
        dt_s : float
            Smaller steps are taken inside where one fails.
        prescribed : (vertices, displacements), optional
            Vertices and their displacement from the scanned shape at the end of the step, mm; NaN leaves a component
            free. They get there at constant velocity.

        Returns
        -------
        Instant

        Raises
        ------
        SolverError
            If the input is malformed, a piece that neither inertia nor damping slows is not held, or no movement was
            found; the message names when, where and why, and the last state stays.
        """
        if not (np.isfinite(dt_s) and dt_s > 0):
            raise SolverError(f"The time step is {dt_s:g} s; it must be positive.")
        vertices, target = checked_prescribed(self.body, prescribed)
        if not self.inertia and not self.damping.mass_per_s:
            self.body.check_supported(vertices, np.isfinite(target), self.element.loads)
        fixed, final = fixed_unknowns(self.element, vertices, target)
        before, part, done, spent, steps = self._snapshot(), dt_s, 0.0, 0, 0
        self._contacts = Contacts(self.element, self._u)
        self._take_hold(fixed)
        try:
            while done < dt_s * (1 - 1e-9):
                part = min(part, dt_s - done)
                try:
                    reaction, iterations = self._advance(part, fixed, final, part / (dt_s - done))
                except StepFailed as failure:
                    self._contacts.back()
                    part *= 0.5
                    if part < SMALLEST_PART * dt_s:
                        raise SolverError(
                            f"No movement beyond {self.time_s:.4g} s: {failure}; move more slowly, or refine the "
                            "mesh there."
                        ) from failure
                    continue
                done, spent, steps = done + part, spent + iterations, steps + 1
        except BaseException:
            self._restore(before)
            self._contacts.undo()
            raise
        return self._instant(vertices, target, reaction, spent, steps)

    # ------------------------------------------------------------------ one step

    def _snapshot(self) -> tuple[Any, ...]:
        history = None if self.relaxation is None else self.relaxation.snapshot()
        return self._u, self._v, self._a, self.time_s, self._held, self._elapsed, history

    def _restore(self, snapshot: tuple[Any, ...]) -> None:
        self._u, self._v, self._a, self.time_s, self._held, self._elapsed, history = snapshot
        if self.relaxation is not None:
            self.relaxation.restore(history)

    def _take_hold(self, fixed: Index) -> None:
        """Accelerations that balance the forces once other unknowns are held."""
        if self._held is not None and np.array_equal(self._held, fixed):
            return
        self._held = fixed
        self._a = np.zeros_like(self._u)
        if not self.inertia:
            return
        self._at(self.time_s)
        # A history that is asked for a vanishing time shows what it carries now.
        force = self._force(self._u, self._v, 1e-12)
        free = np.setdiff1d(self.element.displacements, fixed)
        factor = Factor(self._mass[free][:, free])
        self._a[free] = factor.solve(-force[free])
        factor.destroy()

    def _at(self, time_s: float) -> None:
        for load in self.element.loads:
            if hasattr(load, "at"):
                load.at(time_s)

    def _force(self, x: Array, velocity: Array, elapsed_s: float | None = None) -> Array:
        """All forces but inertia, mN; a history is prepared where a time is given."""
        force = self.element.residual(x) + self._viscous.residual(x, velocity)
        force += self.damping.mass_per_s * (self._mass @ velocity)
        if self.relaxation is not None:
            if elapsed_s is not None:
                self.relaxation.prepare(elapsed_s)
            force += self.relaxation.residual(x)
        return force

    def _advance(self, dt: float, fixed: Index, final: Array, share: float) -> tuple[Array, int]:
        """One time step in which held unknowns go a share of the way to where they end; reactions, iterations."""
        scheme = Scheme(self.rho_infinity, self.inertia, dt)
        ends = self._u[fixed] + share * (final - self._u[fixed])
        held_v, held_a = self._rates_of_held(ends - self._u[fixed], dt, fixed)
        self._at(self.time_s + (1 - scheme.af) * dt)
        if self.relaxation is not None:
            self.relaxation.prepare(self._elapsed + (1 - scheme.af) * dt)
        step = _Step(self, scheme, fixed, ends, held_v, held_a)
        x, force, iterations = step.solve(step.guess())
        for _ in range(AUGMENTATIONS):
            if not self._contacts.augment(x):
                break
            x, force, more = step.solve(x)
            iterations += more
        else:
            raise StepFailed(f"contact did not settle in {AUGMENTATIONS} augmentations")
        u = scheme.end(x, self._u)
        pressures = np.setdiff1d(np.arange(len(u)), self.element.displacements)
        u[pressures] = x[pressures]
        u[fixed] = ends
        check_shape(self.element, u)
        v, a = scheme.rates(u - self._u, self._v, self._a)
        v[pressures] = a[pressures] = 0.0
        v[fixed], a[fixed] = held_v, held_a
        self._u, self._v, self._a = u, v, a
        self.time_s += dt
        self._elapsed = scheme.af * dt
        if self.relaxation is not None:
            self.relaxation.commit(x)
        self._contacts.commit(x)
        return force, iterations

    def _rates_of_held(self, moved: Array, dt: float, fixed: Index) -> tuple[Array, Array]:
        """Velocity and acceleration of held unknowns: Newmark's would ring where their movement has a kink."""
        velocity = moved / dt
        return velocity, (velocity - self._v[fixed]) / dt if self.inertia else np.zeros_like(velocity)

    def _instant(self, vertices: Index, target: Array, force: Array, iterations: int, steps: int) -> Instant:
        element = self.element
        nodes = element.interpolation.T @ force[element.displacements]
        from_reference = element.at_vertices(self._u)
        return Instant(
            time_s=self.time_s,
            displacement=from_reference - self.body.scanned_displacement,
            from_reference=from_reference,
            velocity=element.at_vertices(self._v),
            acceleration=element.at_vertices(self._a),
            pressure_kPa=element.pressure(self._u),
            held=vertices,
            reaction_mN=np.where(np.isfinite(target), nodes[vertices], 0.0),
            kinetic_energy_uJ=float(self._v @ (self._mass @ self._v)) / 2 if self.inertia else 0.0,
            strain_energy_uJ=element.strain_energy(self._u),
            minimum_jacobian=float(element.jacobians(self._u).min()),
            iterations=iterations,
            steps=steps,
        )


class _Step:
    """Newton's method for one time step; the unknown is the state at the time of balance."""

    def __init__(
        self, motion: Dynamics, scheme: Scheme, fixed: Index, ends: Array, held_v: Array, held_a: Array
    ) -> None:
        self.motion, self.scheme, self.element, self.fixed = motion, scheme, motion.element, fixed
        self.u, self.v, self.a = motion._u, motion._v, motion._a
        self.free = np.setdiff1d(np.arange(self.element.unknowns), fixed)
        # What came to rest has no force left to measure a residual by.
        self.nothing_mm = RESTING * float(np.ptp(motion.body.organ.points, axis=0).max())
        self.held = (1 - scheme.af) * ends + scheme.af * self.u[fixed]
        self.held_velocity = (1 - scheme.af) * held_v + scheme.af * self.v[fixed]
        self.held_acceleration = (1 - scheme.am) * held_a + scheme.am * self.a[fixed]

    def solve(self, x: Array) -> tuple[Array, Array, int]:
        """State at the time of balance from a guess, all forces there, and Newton iterations."""
        move = self.held - x[self.fixed]
        force = self._total(x)
        begun = float(np.linalg.norm(self._total(self.u)))
        for iteration in range(1, NEWTON_ITERATIONS + 1):
            x, force, moved = self._iterate(x, force, move)
            move = np.zeros_like(move)
            left = float(np.linalg.norm(force[self.free]))
            if left <= RELATIVE_RESIDUAL * max(begun, self._scale(x, force)) or moved <= self.nothing_mm:
                return x, force, iteration
        raise StepFailed(
            f"Newton's method did not converge in {NEWTON_ITERATIONS} iterations "
            f"({where_force(self.element, force, self.fixed)})"
        )

    def guess(self) -> Array:
        """The state carried on by its velocity, unless that crushes the tissue."""
        reach = (1 - self.scheme.af) * self.scheme.dt
        x = self.u + reach * self.v + (reach**2 / 2 * self.a if self.scheme.inertia else 0.0)
        x[self.fixed] = self.held
        if self.element.jacobians(x).min() > MINIMUM_JACOBIAN:
            return x
        return np.array(self.u)

    def _rates(self, x: Array) -> tuple[Array, Array]:
        """Velocity and acceleration at the time of balance."""
        scheme = self.scheme
        end_v, end_a = scheme.rates(scheme.end(x, self.u) - self.u, self.v, self.a)
        velocity = (1 - scheme.af) * end_v + scheme.af * self.v
        acceleration = (1 - scheme.am) * end_a + scheme.am * self.a
        velocity[self.fixed], acceleration[self.fixed] = self.held_velocity, self.held_acceleration
        return velocity, acceleration

    def _total(self, x: Array) -> Array:
        velocity, acceleration = self._rates(x)
        force = self.motion._force(x, velocity)
        return force + self.motion._mass @ acceleration if self.scheme.inertia else force

    def _scale(self, x: Array, force: Array) -> float:
        """Size of the forces in play: inertia and reactions, mN; forces met on the way are no measure."""
        inertia = 0.0
        if self.scheme.inertia:
            inertia = float(np.linalg.norm((self.motion._mass @ self._rates(x)[1])[self.free]))
        return max(1e-300, inertia, float(np.linalg.norm(force[self.fixed])))

    def _iterate(self, x: Array, force: Array, move: Array) -> tuple[Array, Array, float]:
        """One Newton step, halved until nothing folds, the forces after it, and the longest way it meant to go, mm."""
        tangent = self._tangent(x)
        extra = tangent.shape[0] - len(x)
        inside = np.concatenate([self.free, len(x) + np.arange(extra)])
        rows = tangent[inside]
        load = np.concatenate([-force[self.free], np.zeros(extra)])
        load -= rows[:, self.fixed] @ move
        try:
            # Viscous forces depend on the deformation, which no energy does for them.
            factor = Factor(rows[:, inside], self.element.symmetric and self.motion._viscous.none)
        except ArithmeticError as error:
            raise StepFailed(str(error)) from error
        change = np.zeros_like(x)
        change[self.free] = factor.solve(load)[: len(self.free)]
        change[self.fixed] = move
        factor.destroy()
        length = 1.0
        while length > (1e-3 if not np.any(move) else 0.9):
            y = x + length * change
            if np.isfinite(y).all() and self.element.jacobians(y).min() > FOLDED:
                force = self._total(y)
                if np.isfinite(force).all():
                    return y, force, float(np.abs(change[self.element.displacements]).max())
            length /= 2
        worst = self.element.jacobians(x + change)
        raise StepFailed(f"the tissue folds ({where_jacobian(self.element.body, worst)})")

    def _tangent(self, x: Array) -> csr_matrix:
        motion, scheme = self.motion, self.scheme
        velocity, _ = self._rates(x)
        added = motion._mass * (
            scheme.acceleration_slope + motion.damping.mass_per_s * scheme.velocity_slope
        ) + motion._viscous.tangent(x, velocity, scheme.velocity_slope)
        if motion.relaxation is not None:
            added = added + motion.relaxation.tangent(x)
        tangent = self.element.tangent(x)
        added.resize(tangent.shape)
        return csr_matrix(tangent + added)


def _mass_matrix(element: Element) -> csr_matrix:
    """Consistent mass of an element, kg, shape (unknowns, unknowns); pressures have none."""
    test, trial = ufl.TestFunction(element.space), ufl.TrialFunction(element.space)
    if element.mixed:
        test, trial = ufl.split(test)[0], ufl.split(trial)[0]
    degree = 4 if element.name.startswith("P2") else 2
    density = element.body.density * ufl.inner(trial, test)
    form = compile_form(density * element.body.dx(metadata={"quadrature_degree": degree}))
    matrix = fem.create_matrix(form, block_mode=la.BlockMode.expanded)
    fem.assemble_matrix(matrix, form)
    return csr_matrix(matrix.to_scipy().copy())
