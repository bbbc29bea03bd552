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

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from solver.live_load import LiveLoad
from solver.response import Response

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

LOCAL_ITERATIONS = 20
# The load's forces are found when they change by less than this share of themselves, or less than this, mN.
RELATIVE_CHANGE, SMALLEST_MN = 1e-3, 1e-3


class _Joined:
    """One step being sought: the vertices that loads have joined so far, the forces λ there, and where they lead."""

    def __init__(
        self,
        response: Response,
        loads: Mapping[str, LiveLoad],
        positions: Array,
        step: Array,
        expected: Array,
    ) -> None:
        self._response, self._loads = response, loads
        self._positions, self._step, self._expected = positions, step, expected
        self.vertices = np.zeros(0, dtype=np.int64)
        self.columns = response.columns(self.vertices)
        self.force = np.zeros(0)
        self.compliance = np.zeros((0, 0))
        self.d, self.energy, self.gradient = step, 0.0, expected

    def take(self, vertices: Ints) -> None:
        """Join more vertices; the forces of those already joined stay."""
        every = np.union1d(self.vertices, vertices)
        if len(every) == len(self.vertices):
            return
        force = np.zeros((len(every), 3))
        force[np.searchsorted(every, self.vertices)] = self.force.reshape(-1, 3)
        self.vertices, self.force = every, force.ravel()
        self.columns = self._response.columns(every)
        compliance = self.columns[:, _unknowns(every)]
        self.compliance = 0.5 * (compliance + compliance.T)

    def linearised(self, hops: Mapping[str, Array]) -> None:
        """The forces that balance, were each load linear around the tissue carried along with it, and where they lead.

        Carried along, the tissue touches a tool that has moved as it did before.
        """
        shifted = {name: self._positions + hops.get(name, 0.0) for name in self._loads}
        gradient = np.zeros_like(self._positions)
        for name, load in self._loads.items():
            gradient += load.evaluate(shifted[name])[1]
        self.take(np.flatnonzero(gradient.any(axis=1) | self._expected.any(axis=1)))
        at = self.vertices
        stiffness = np.zeros_like(self.compliance)
        sought = (self._expected[at] - gradient[at]).ravel()
        for name, load in self._loads.items():
            own = self._stiffness_of(load, shifted[name], convex=True)
            sought -= own @ (self._step[at] - hops.get(name, 0.0)).ravel()
            stiffness += own
        force = self._solved(stiffness, sought)
        self._go(force, self._step + self._answer(force))

    def improved(self) -> bool:
        """One step of Newton's method; False when the forces are found or get no better."""
        self.take(np.flatnonzero(self.gradient.any(axis=1)))
        at = self.vertices
        wanted = (self._expected[at] - self.gradient[at]).ravel()
        missing = wanted - self.force
        largest = float(np.abs(wanted).max(initial=0.0))
        if np.abs(missing).max(initial=0.0) <= SMALLEST_MN + RELATIVE_CHANGE * largest:
            return False
        # Exact first; where the load's own curvature misleads, its convex part, along which the way is down.
        return any(self._descended(missing, *how) for how in ((False, 2), (True, 12)))

    def _descended(self, missing: Array, convex: bool, trials: int) -> bool:
        """Go along Newton's direction to where the way is no longer down; False, and back, if it is not found."""
        change = self._solved(self._stiffness(convex), missing)
        answered = self.compliance @ change
        slope = -float(missing @ answered)
        if slope >= 0:
            return False
        way, start, value = self._answer(change), (self.force, self.d), self._value()
        low, high, low_slope, high_slope = 0.0, np.inf, slope, np.inf
        share = 1.0
        for _ in range(trials):
            self._go(start[0] + share * change, start[1] + share * way)
            here = float(self.force @ answered) + float(np.vdot(self.gradient - self._expected, way))
            if self._value() <= value + 1e-4 * share * slope + 1e-12 * abs(value):
                if abs(here) <= 0.5 * abs(slope) or share == 1.0:
                    return True
                low, low_slope = share, min(here, 0.0)
            else:
                high, high_slope = share, here
            # A load that sets in on the way makes the slope turn sharply: regula falsi, kept off the ends.
            middle = low + (high - low) * low_slope / (low_slope - high_slope) if high_slope > 0 else low
            share = float(np.clip(middle, low + 0.05 * (high - low), low + 0.7 * (high - low)))
        self._go(start[0] + low * change, start[1] + low * way)
        return low > 0

    def _answer(self, force: Array) -> Array:
        return np.asarray((force @ self.columns).reshape(-1, 3))

    def _go(self, force: Array, d: Array) -> None:
        self.force, self.d = force, d
        self.energy, self.gradient = 0.0, np.zeros_like(d)
        for load in self._loads.values():
            energy, gradient = load.evaluate(self._positions + d)
            self.energy += energy
            self.gradient += gradient

    def _value(self) -> float:
        """What the forces minimise."""
        elastic = 0.5 * float(self.force @ (self.compliance @ self.force))
        return elastic + self.energy - float(np.vdot(self._expected, self.d))

    def _stiffness(self, convex: bool) -> Array:
        found = np.zeros_like(self.compliance)
        for load in self._loads.values():
            found += self._stiffness_of(load, self._positions + self.d, convex)
        return found

    def _stiffness_of(self, load: LiveLoad, positions: Array, convex: bool) -> Array:
        """Second derivative of a load among the joined vertices."""
        found = np.zeros_like(self.compliance)
        vertices, matrix = load.coupled_stiffness(positions, convex)
        known = np.isin(vertices, self.vertices)
        place = _unknowns(np.searchsorted(self.vertices, vertices[known]))
        own = _unknowns(np.flatnonzero(known))
        found[np.ix_(place, place)] = matrix[np.ix_(own, own)]
        return found

    def _solved(self, stiffness: Array, right: Array) -> Array:
        """(I + K S)⁻¹ times a vector."""
        return np.asarray(np.linalg.solve(np.eye(len(right)) + stiffness @ self.compliance, right))


def coupled_step(
    response: Response,
    loads: Mapping[str, LiveLoad],
    positions: Array,
    step: Array,
    expected: Array,
    hops: Mapping[str, Array],
) -> tuple[Array, Array]:
    """The tissue's own step, corrected by what loads answer on the way.

    Parameters
    ----------
    response : Response
    loads : mapping of str to LiveLoad
        Those that are `coupled`.
    positions, step : ndarray, shape (n, 3), float64
        Where the vertices are, and the tissue's own answer d₀, mm.
    expected : ndarray, shape (n, 3), float64
        The gradient f of the loads that d₀ answers to, mN.
    hops : mapping of str to ndarray, shape (3,)
        How far the tools of the loads have moved since the tissue came to these positions, mm.

    Returns
    -------
    step : ndarray, shape (n, 3), float64
        d, mm.
    gradient : ndarray, shape (n, 3), float64
        Of the loads at its end, mN: what to expect of them next.
    """
    joined = _Joined(response, loads, positions, step, expected)
    joined.linearised(hops)
    for _ in range(LOCAL_ITERATIONS):
        if not joined.improved():
            break
    return joined.d, joined.gradient


def _unknowns(vertices: Ints) -> Ints:
    return (3 * vertices[:, None] + np.arange(3)).ravel()
