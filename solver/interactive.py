"""Interactive: tissue that answers in the hand, on the same energy the reference tier minimises.

Every frame improves one state of the true hyperelastic body on nodal-averaged linear tetrahedra
(`solver.averaged`). A tool that moves carries its patch by the lifted answer of the factored tangent; then
quasi-Newton steps (limited-memory BFGS on the factored tangent; Liu, Bouaziz & Kavan 2017, ACM Trans Graph 36:23)
lower the energy, each taken only if the energy falls and no tetrahedron is squeezed below a floor. When steps stop
paying, the tangent has aged and is factored anew, beside the frames when they have a time budget. Held still, the
state converges to the equilibrium of its own discretisation, `Equilibrium(body, element="P1-averaged")`; the length
of the next full step estimates, on every frame, how far it still is.

With a number of iterations a step depends on nothing but the state before it, so a rehearsal replays to the same
numbers; with a time budget it returns the best state when time is up and goes on from there at the next call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from anatomy.progress import Progress, silent
from solver.attachments import Attachment
from solver.averaged import Averaged
from solver.body import Body
from solver.coupling import coupled_step
from solver.errors import SolverError
from solver.factor import Factor, definite_factor
from solver.frame import Frame, Progressing
from solver.live_load import LiveLoad
from solver.live_tissue import FLOOR_JACOBIAN, LiveTissue, same_vertices
from solver.mobility import check_answer, check_extent
from solver.pairs import alone
from solver.response import Response
from solver.resting import rest_points
from solver.snapshot import Snapshot
from solver.successor import Successor, check_unfolded, factored, make_successor
from solver.topology import TopologyChange

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
T = TypeVar("T")

CONVERGED_MM = 0.01
# Iterations stop here: a fifth of what counts as converged.
IDLE_MM = 0.2 * CONVERGED_MM
# A tool's patch is carried at most this far between two iterations, so that the tangent still describes the way.
ADVANCE_MM = 5.0
LONGEST_STEP_MM = 10.0
# Farther than this from the converged state, on the mean, a frame takes one iteration even beyond its time.
OVERRUN_MM = 0.03
# An iteration that leaves more than this share of the distance pays badly; after two of them the tangent is old.
POOR_CONTRACTION = 0.4
# Where a frame has no time for an iteration, nothing shows the tangent's age; it is then renewed this often.
RENEW_FRAMES = 20
# A frame that no time passes in counts as this long for what goes on beside it.
SHORTEST_FRAME_S = 1 / 60
# Without a clock a tangent factored beside the frames is due after this time of the rehearsal, and this many operations
# of its factorisation a second; measured: about twice what one core that is shared with the frames takes.
REFACTORING_S, REFACTORING_PER_S = 0.05, 25e9
ARMIJO = 1e-4


class Interactive(LiveTissue):
    """A body that can be held and pulled at frame rate.

    Parameters
    ----------
    body : Body
    resting : bool
        Whether a body that does not know its stress-free shape is given the one under which it rests in the scanned
        shape (`solver.resting`). Otherwise it sags from the scanned shape until it rests.
    progress : Progress

    Attributes
    ----------
    body : Body
        With its stress-free shape; another one after every change of topology.
    topology : int
        Number of the present topology, see `Frame`.
    time_s : float
        Time of the rehearsal: what `step` was told has passed.

    Raises
    ------
    SolverError
        If a piece of the body is held by nothing, its size cannot be that of an organ in millimetres, or nothing
        a hand could do would move it.
    """

    def __init__(self, body: Body, resting: bool = True, progress: Progress = silent) -> None:
        check_extent(body)
        body.check_supported()
        progress("compiling the tissue's law", 0.0)
        averaged = Averaged(body)
        progress("ordering the unknowns", 0.2)
        empty = Factor(averaged.pattern, averaged.node, averaged.points, averaged.negative)
        if resting and np.any(body.gravity_mm_s2) and not np.any(body.scanned_displacement):
            points = rest_points(
                averaged, empty, progress=lambda stage, share: progress(stage, 0.3 + 0.3 * share)
            )
            body = body.on_reference(points)
            averaged = averaged.reshaped(points, body)
        u = body.scanned_displacement.copy()
        progress("factoring the stiffness", 0.6)
        factor = definite_factor(empty, averaged.tangent(u), averaged.pattern.indptr[: u.size])
        super().__init__(body, averaged, u, factor)
        self._factored_at = self._u.copy()
        # How far the tools of loads have moved since the last step, mm.
        self._hops: dict[str, Array] = {}
        self._measured: tuple[Array, float, float] | None = None
        self._worker: ThreadPoolExecutor | None = None
        self._maker: ThreadPoolExecutor | None = None
        self._made: Future[Any] | None = None
        self._refactoring: Future[tuple[Factor, Response, Array]] | None = None
        self._due_s = 0.0
        self.time_s = 0.0
        self.topology = self._topologies = 0
        self._cost_s, self._frames = 0.0, 0
        check_answer(body, self._response)
        progress("coming to rest", 0.8)
        self.settle(IDLE_MM)
        self._rest = self.snapshot()
        progress("ready", 1.0)

    # ------------------------------------------------------------------ steps

    def step(
        self, budget_s: float | None = None, iterations: int | None = None, advance_s: float = 0.0
    ) -> Frame:
        """Bring the state nearer to equilibrium and return it.

        Parameters
        ----------
        budget_s : float, optional
            Wall time after which the best state so far is returned; the tangent is then refactored beside the
            frames.
        iterations : int, optional
            Quasi-Newton iterations at most; without a budget the result then depends on the state alone.
        advance_s : float
            Time of the rehearsal that passes.

        Returns
        -------
        Frame
        """
        started = time.perf_counter()
        self.time_s += advance_s
        self._due_s -= max(advance_s, SHORTEST_FRAME_S)
        self._take_over(wait=budget_s is None)
        self._replace_loads(lambda load: load.begun(self.positions, advance_s))
        done = 0
        while True:
            followed = self._follow()
            largest, mean = self._distance()
            if followed and not done:
                self._learn_cost(time.perf_counter() - started)
            if largest < self._idle_mm() and not self._lag():
                break
            if self._stuck or (iterations is not None and done >= iterations):
                break
            left = np.inf if budget_s is None else budget_s - (time.perf_counter() - started)
            if left < self._cost_s and (done or (followed and mean < OVERRUN_MM)):
                break
            self._iterate()
            done += 1
            if self._slow >= 2:
                self._renew(beside=True)
        self._frames += 1
        self._replace_loads(lambda load: load.committed(self.positions, self.time_s))
        if budget_s is not None and self._frames >= RENEW_FRAMES and self._distance()[0] > 3 * CONVERGED_MM:
            self._renew(beside=True)
        return self._frame(done, time.perf_counter() - started)

    def settle(self, tolerance_mm: float = CONVERGED_MM, iterations: int = 400) -> Frame:
        """Iterate until the estimated distance of every vertex is below a tolerance.

        Parameters
        ----------
        tolerance_mm : float
        iterations : int
            At most.

        Raises
        ------
        SolverError
            If it is not reached; the state is the best found.
        """
        started = time.perf_counter()
        for done in range(iterations):
            self._follow()
            if self._distance()[0] < tolerance_mm and not self._lag():
                return self._frame(done, time.perf_counter() - started)
            if self._stuck:
                break
            self._iterate()
            if self._slow >= 2:
                self._renew(beside=False)
        raise SolverError(
            f"The tissue did not come to rest: it is still about {self._distance()[0] + self._lag():.2g} mm off "
            f"(smallest volume ratio {self._minimum:.2g}); pull less far or hold a larger patch."
        )

    def _next_step(self) -> Array:
        """Quasi-Newton step from the present state, mm, computed once."""
        if self._direction is None:
            coupled = self._coupled()
            if coupled:
                self._direction = self._coupled_step(coupled)
                return self._direction
            self._direction = self._curvature.direction(self._free_gradient, self._response.to_force)
            if float(np.vdot(self._direction, self._free_gradient)) > 0:
                self._curvature.clear()
                self._direction = -self._response.to_force(self._free_gradient)
        return self._direction

    def _coupled_step(self, coupled: dict[str, LiveLoad]) -> Array:
        """The tissue's own step, corrected by what coupled loads answer on the way."""
        expected = self._expected
        if expected is None:
            expected = np.zeros_like(self._u)
        own = self._own_gradient() + expected
        own.reshape(-1)[self._response.held] = 0.0
        while True:
            answer = self._curvature.direction(own, self._response.to_force)
            step, foreseen = coupled_step(
                self._response, coupled, self.positions, answer, expected, self._hops
            )
            if not len(self._curvature) or float(np.vdot(step, self._free_gradient)) <= 0:
                self._foreseen = foreseen
                return step
            self._curvature.clear()

    def _distance(self) -> tuple[float, float]:
        """Estimated distance to the converged state, mm: largest over vertices, and mean."""
        step = self._next_step()
        if self._measured is None or self._measured[0] is not step:
            lengths = np.sqrt(np.einsum("ij,ij->i", step, step))
            self._measured = step, float(lengths.max()), float(lengths.mean())
        return self._measured[1:]

    def _idle_mm(self) -> float:
        """Iterations of a step stop here; errors of steps in time add up, so that a load that counts it
        may ask for less."""
        return min([IDLE_MM, *(load.tolerance_mm for load in self._loads.values())])

    def _follow(self) -> bool:
        """Carry the patches after their tools; True if any moved."""
        self._advance_tools()
        waiting = {name: p for name, p in self._patches.items() if p.holding and np.any(p.pending_mm)}
        for name in [name for name, patch in waiting.items() if not len(patch.vertices)]:
            # What it held was taken out and is carried away in its jaws.
            waiting.pop(name).pending_mm = np.zeros(3)
        if not waiting:
            return False
        part = min(1.0, ADVANCE_MM / max(float(np.linalg.norm(p.pending_mm)) for p in waiting.values()))
        lift = sum(self._response.to_shift(name, p.pending_mm) for name, p in waiting.items())
        # What the last frame found still missing is put in with the move, for one evaluation of both.
        correction = self._direction if self._direction is not None and self._distance()[0] < 1.0 else None
        for trial in range(8):
            share = part * 0.5 ** max(0, trial - 1)
            u = self._u + share * lift
            if trial == 0:
                if correction is None:
                    continue
                u += correction
            for patch in waiting.values():
                carried = patch.moved_mm - (1 - share) * patch.pending_mm
                u[patch.vertices] = patch.start_mm + carried
            found = self._evaluate(u)
            if np.isfinite(found[0]):
                for patch in waiting.values():
                    patch.pending_mm = (1 - share) * patch.pending_mm
                self._accept(u, *found)
                self._stuck = False
                return True
        self._stuck = True
        return False

    def _advance_tools(self) -> None:
        """Let the tools of loads go on; how far each has gone since the last iteration is kept."""
        before = {name: load.tools_mm().get(name) for name, load in self._loads.items()}
        self._replace_loads(lambda load: load.followed(self.positions))
        for name, place in before.items():
            if place is not None:
                hop = self._loads[name].tools_mm()[name] - place
                if np.any(hop):
                    self._hops = {**self._hops, name: self._hops.get(name, np.zeros(3)) + hop}

    def _iterate(self) -> None:
        """One quasi-Newton step along which the energy falls."""
        started = time.perf_counter()
        step = self._next_step()
        length = self._distance()[0]
        step = step * min(1.0, LONGEST_STEP_MM / max(length, 1e-300))
        step = step * min([1.0, *(load.allowed_share(self.positions, step) for load in self._loads.values())])
        # Where single precision has turned the step uphill, nothing but a fall is taken.
        slope = min(float(np.vdot(step, self._free_gradient)), 0.0)
        rounding = 1e-12 * (abs(self._energy) + 1.0)
        share = 1.0
        for _ in range(12):
            u = self._u + share * step
            energy, gradient, smallest = self._evaluate(u)
            if np.isfinite(energy):
                falls = energy <= self._energy + ARMIJO * share * slope
                # Near the minimum energies differ by rounding only; the slope still tells.
                flattens = energy <= self._energy + rounding and (
                    abs(float(np.vdot(step, gradient))) <= 0.9 * abs(slope)
                )
                if falls or flattens:
                    break
            share *= _shorter(self._energy, energy, share, slope)
        else:
            self._give_way()
            return
        before, self._expected = self._own_gradient(), self._foreseen
        self._hops = {}
        self._accept(u, energy, gradient, smallest)
        self._curvature.learn(share * step, self._own_gradient() - before)
        poor = self._distance()[0] > max(POOR_CONTRACTION * length, CONVERGED_MM)
        self._slow = self._slow + 1 if poor else 0
        self._learn_cost(time.perf_counter() - started)

    def _own_gradient(self) -> Array:
        """The free gradient without what coupled loads add, which the curvature has not to learn."""
        own = self._free_gradient
        for load in self._coupled().values():
            added = load.evaluate(self.positions)[1]
            added.reshape(-1)[self._response.held] = 0.0
            own = own - added
        return own

    def _learn_cost(self, spent_s: float) -> None:
        """Running mean of what an iteration takes; to follow a tool costs the same, one assembly and one solve."""
        self._cost_s = spent_s if self._cost_s == 0 else 0.7 * self._cost_s + 0.3 * spent_s

    def _give_way(self) -> None:
        """No step along the direction helps: forget what was learnt, then factor anew, then say so."""
        if len(self._curvature):
            self._curvature.clear()
            self._direction = None
        elif np.abs(self._u - self._factored_at).max() > CONVERGED_MM and self._refactor():
            return
        else:
            self._stuck = True

    # ------------------------------------------------------------------ the tangent

    def _renew(self, beside: bool) -> None:
        """Factor the tangent at the present state, in another thread or at once."""
        self._slow = self._frames = 0
        if np.abs(self._u - self._factored_at).max() < CONVERGED_MM:
            return
        if not beside:
            self._refactor()
        elif self._refactoring is None and (self._made is None or self._made.done()):
            self._due_s = REFACTORING_S + self._factor.operations / REFACTORING_PER_S
            self._refactoring = self._beside.submit(self._factoring())

    def beside(self, job: Callable[[], T]) -> Future[T]:
        """Have a job done in a thread of its own, after those given before it; meanwhile no tangent is begun anew."""
        if self._maker is None:
            self._maker = ThreadPoolExecutor(1, thread_name_prefix="topology", initializer=alone)
        made = self._maker.submit(job)
        self._made = made
        return made

    @property
    def _beside(self) -> ThreadPoolExecutor:
        """The thread that works beside the frames."""
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="tangent", initializer=alone)
        return self._worker

    def _factoring(self) -> Callable[[], tuple[Factor, Response, Array]]:
        """What factors the tangent of the present state, whenever it is called and wherever the state has gone then."""
        averaged, before, u = self._averaged, self._factor, self._u
        held, loads, expected = self._holding(), list(self._loads.values()), self._expected

        def make() -> tuple[Factor, Response, Array]:
            factor, response = factored(averaged, before, u, held, loads)
            if expected is not None:
                # Where a tool touches, the new tangent is asked beside the frames too.
                response.columns(np.flatnonzero(expected.any(axis=1)))
            return factor, response, u

        return make

    def _refactor(self) -> bool:
        """Factor at once; False (and the old factor kept) where the tangent is not definite."""
        self._refactoring = None
        try:
            self._use(*self._factoring()())
        except SolverError:
            self._factored_at = self._u
            return False
        return True

    def _take_over(self, wait: bool) -> None:
        """Take a tangent factored beside the frames into use: once it is there, or just when it is due.

        Without a clock the time at which it is due depends on the size of the tangent alone, so that a rehearsal
        replays to the same numbers; where this machine takes longer, it is waited for.
        """
        if self._refactoring is None or not (self._due_s <= 0 if wait else self._refactoring.done()):
            return
        finished, self._refactoring = self._refactoring, None
        try:
            self._use(*finished.result())
        except SolverError:
            self._factored_at = self._u

    def _use(self, factor: Factor, response: Response, at: Array) -> None:
        self._factor, self._factored_at = factor, at
        if not same_vertices(response.patches, self._holding()):
            response = Response(factor, self._averaged.vertices, self._holding())
        self._response = response
        self._direction, self._frames = None, 0

    def hold_by(self, attachments: Sequence[Attachment]) -> None:
        """Take the body's attachments in another state, divided or not.

        Raises
        ------
        SolverError
            If a piece of the body would be held by nothing; then nothing has changed.
        """
        before = self.body.attachments
        self.body.hold_by(attachments)
        try:
            self.body.check_supported(self._all_held())
        except SolverError:
            self.body.hold_by(before)
            raise
        # Snapshots keep the discretisation they were made with.
        self._averaged = self._averaged.reshaped(self._averaged.points)
        self._refactoring = None
        self._curvature.clear()
        self._take_hold()
        self._refactor()

    # ------------------------------------------------------------------ topology

    def change(self, change: TopologyChange, body: Body | None = None) -> None:
        """Go on on another mesh, at once.

        What the tools hold, the loads and the state itself are carried; the tangent is factored anew.

        Parameters
        ----------
        change : TopologyChange
            From the present mesh, `body.organ`.
        body : Body, optional
            The body on it, where there is one already, every piece of which is held.

        Raises
        ------
        SolverError
            If a piece would be held by nothing, or the change folds the tissue; then nothing has changed.
        """
        self.adopt(self.successor_maker()(change, body))

    def successor_maker(self) -> Callable[[TopologyChange, Body | None], Successor]:
        """What makes the successor of the present state after a change, in any thread and wherever the state has gone.

        The successor is to be adopted (`adopt`); arguments of what is returned are those of `change`.
        """
        averaged, factor, u = self._averaged, self._factor, self._u
        held, loads = self._holding(), dict(self._loads)

        def make(change: TopologyChange, body: Body | None = None) -> Successor:
            _check_start(change, averaged.body)
            return make_successor(change, averaged, factor, u, held, loads, FLOOR_JACOBIAN, body)

        return make

    def adopt(self, successor: Successor) -> None:
        """Go on on the mesh of a change, from where the tissue is now.

        Raises
        ------
        SolverError
            If the tissue has moved so that the change would fold it, or it starts from another mesh than the
            present one; then nothing has changed.
        """
        change = successor.change
        _check_start(change, self.body)
        u = change.interpolate(self._u)
        check_unfolded(successor.averaged, u, FLOOR_JACOBIAN)
        loads = {name: load.carried(change) for name, load in self._loads.items()}
        self.body, self._averaged = successor.body, successor.averaged
        self._u, self._loads = u, loads
        self._patches = {name: patch.carried(change, u) for name, patch in self._patches.items()}
        self._topologies += 1
        self.topology = self._topologies
        self._refactoring = None
        self._expected, self._foreseen, self._hops = None, None, {}
        self._curvature.clear()
        self._use(successor.factor, successor.response, successor.at)
        self._take_hold()

    # ------------------------------------------------------------------ states

    def snapshot(self) -> Snapshot:
        """The present state."""
        return Snapshot(
            self.body, self.body.attachments, self._averaged, self.topology,
            self._u.copy(), {n: p.copy() for n, p in self._patches.items()}, dict(self._loads), self.time_s,
            self._factor, self._factored_at, self._curvature.copy(),
            self._direction, (self._expected, self._foreseen), self._slow, self._stuck, self._frames,
            self._refactoring, self._due_s, self._hops,
        )  # fmt: skip

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a state of this tissue, on the mesh and with the attachments it then had."""
        self._refactoring = None
        self.body, self._averaged, self.topology = snapshot.body, snapshot.averaged, snapshot.topology
        self.body.hold_by(snapshot.attachments)
        self._u = snapshot.displacement.copy()
        self._patches = {n: p.copy() for n, p in snapshot.patches.items()}
        self._loads = dict(snapshot.loads)
        self.time_s = snapshot.time_s
        self._factor, self._factored_at = snapshot.factor, snapshot.factored_at
        self._response = Response(self._factor, self._averaged.vertices, self._holding())
        self._curvature = snapshot.curvature.copy()
        self._expected = self._foreseen = None
        self._take_hold()
        self._direction, self._slow = snapshot.direction, snapshot.slow
        self._expected, self._foreseen = snapshot.expected
        self._stuck, self._frames = snapshot.stuck, snapshot.frames
        self._refactoring, self._due_s = snapshot.refactoring, snapshot.due_s
        self._hops = dict(snapshot.hops)

    def reset(self) -> None:
        """Go back to where the tissue rested at first, whole, with no tool on it and every attachment as it was."""
        self.restore(self._rest)

    def present(self) -> Frame:
        """The present state as a frame; nothing moves."""
        return self._frame(0, 0.0)

    def _frame(self, iterations: int, seconds: float) -> Frame:
        largest, mean = self._distance()
        lag = self._lag()
        scale = float(np.linalg.norm(self._averaged.weight)) + float(
            np.linalg.norm(self._gradient.reshape(-1)[self._response.held])
        )
        state: Progressing = "stale" if self._stuck else "approaching"
        if largest < CONVERGED_MM and not lag:
            state = "converged"
        return Frame(
            displacement=self.displacement.astype(np.float32),
            time_s=self.time_s,
            forces_N=self._forces(),
            residual=float(np.linalg.norm(self._free_gradient)) / max(scale, 1e-12),
            distance_mm=largest + lag,
            mean_distance_mm=mean + lag,
            state=state,
            iterations=iterations,
            seconds=seconds,
            minimum_jacobian=self._minimum,
            topology=self.topology,
        )


def _check_start(change: TopologyChange, body: Body) -> None:
    if change.before is not body.organ:
        raise SolverError("The change starts from another mesh than the present one; make it anew.")


def _shorter(energy: float, trial: float, share: float, slope: float) -> float:
    """Factor by which to shorten a step: to the minimum of a parabola, within bounds."""
    if not np.isfinite(trial):
        return 0.4
    curvature = trial - energy - share * slope
    return float(np.clip(-0.5 * share * slope / curvature, 0.1, 0.5)) if curvature > 0 else 0.5
