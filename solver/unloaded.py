"""The stress-free shape of an organ that the scan shows under gravity, for every element of the reference tier.

The iteration is that of `solver.resting`. What is iterated are all unknowns of the element; the stress-free vertices
are the scanned ones less their displacement. Midpoints of edges and pressures, which the scan does not show, come to
equilibrium on the way: at the end the unknowns are those of the element's own equilibrium under gravity, whose vertices
are the scanned ones. The live discretisation, which is found in a fraction of the time, gives the first guess.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anatomy.progress import Progress, silent
from solver.body import Body
from solver.elements import Element, ElementName, make_element
from solver.errors import SolverError
from solver.linear import Factor
from solver.loads import Load
from solver.resting import ITERATIONS, Inverse, at_rest, find_rest
from solver.stepping import FOLDED, StepFailed, check_shape

Array = NDArray[np.float64]


def unload(
    body: Body,
    element: ElementName = "P1-averaged",
    tolerance_mm: float = 0.01,
    iterations: int = ITERATIONS,
    loads: Sequence[Load] = (),
    progress: Progress = silent,
) -> Body:
    """The same body on its stress-free shape.

    Parameters
    ----------
    body : Body
        Its organ is the shape under gravity; its stress-free shape is the first guess.
    element : {"P1-averaged", "P1", "P2", "P2-P1"}
        Element whose equilibrium the scan is taken for.
    tolerance_mm : float
        Largest correction of any vertex at the end, which is how far the reloaded shape is off the scanned one.
    iterations : int
        At most.
    loads : sequence of Load
        What else acts while the scan is taken: ligaments, pressures; not contact.
    progress : Progress

    Returns
    -------
    Body
        With `reference_points` the stress-free shape and `scanned_displacement` leading to the scan. Without
        gravity and loads the body itself.

    Raises
    ------
    SolverError
        If the body is not held, a load is a contact, or no such shape is found.
    """
    if any(hasattr(load, "bind") for load in loads):
        raise SolverError(
            "The stress-free shape cannot be found in contact; leave the contact out of its loads."
        )
    if not loads and not np.any(body.gravity_mm_s2):
        return body
    body.check_supported(loads=loads)
    if element == "P1-averaged" and not loads:
        return at_rest(body, tolerance_mm, iterations, progress=progress)
    inverse = _Reference(_first_guess(body), element, loads)
    guess = inverse.element.from_vertices(inverse.body.scanned_displacement)
    x = find_rest(inverse, guess, tolerance_mm, iterations, progress)
    free = inverse.body_at(x)
    try:
        check_shape(make_element(free, element, loads), x)
    except StepFailed as failure:
        raise SolverError(
            f"The stress-free shape is none: under gravity {failure}; stiffen the attachments, or refine the mesh."
        ) from failure
    return free


def _first_guess(body: Body) -> Body:
    """The shape that rests in the live discretisation; the scanned one for tissues or supports it does not take."""
    try:
        return at_rest(body)
    except SolverError:
        return body


class _Reference(Inverse):
    """An element of the reference tier: an iterate is the vector of its unknowns."""

    def __init__(self, body: Body, name: ElementName, loads: Sequence[Load]) -> None:
        self.body, self.name, self.loads = body, name, loads
        self.element = make_element(body, name, loads)
        self._factor: Factor | None = None

    def body_at(self, x: Array) -> Body:
        """The body on the stress-free shape of an iterate."""
        return self.body.on_reference(self.body.organ.points - self.element.at_vertices(x))

    def _element_at(self, x: Array) -> Element | None:
        """The element on that shape; None where it folds."""
        try:
            element = make_element(self.body_at(x), self.name, self.loads)
        except SolverError:
            return None
        return element if element.jacobians(x).min() > FOLDED else None

    def renew(self, x: Array) -> None:
        """Factor the tangent at x; the old factor stays where that one is singular."""
        element = self._element_at(x)
        if element is None:
            return
        try:
            factor = Factor(element.tangent(x), element.symmetric)
        except ArithmeticError:
            return
        if self._factor is not None:
            self._factor.destroy()
        self._factor = factor

    def misfit(self, x: Array) -> Array | None:
        """−K⁻¹ r, shape (unknowns,)."""
        element = self._element_at(x)
        if element is None or self._factor is None:
            return None
        load = np.zeros(self._factor.size)
        load[: len(x)] = -element.residual(x)
        change = self._factor.solve(load)[: len(x)]
        return change if np.isfinite(change).all() else None

    def largest(self, misfit: Array) -> float:
        """Largest correction of a vertex, mm."""
        return float(np.linalg.norm(self.element.at_vertices(misfit), axis=1).max())
