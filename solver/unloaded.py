"""The stress-free shape of an organ that the scan shows under gravity, for every element of the reference tier.

The iteration is that of `solver.resting`, and the live discretisation, whose answer is found in a fraction of the
time, gives the first guess. From there X is corrected by the misfit of a forward solve (Sellier 2011, J Fluids Struct
27:1461) instead of K⁻¹ r: midpoints of edges and pressures, which the scan does not show, come to their own equilibrium
in it. A forward solve of the element asked for thus has the last word.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anatomy.progress import Progress, silent
from solver.body import Body, tet_volumes
from solver.elements import ElementName
from solver.equilibrium import Equilibrium
from solver.errors import SolverError
from solver.loads import Load
from solver.resting import FOLDS, ITERATIONS, Inverse, at_rest, find_rest
from solver.state import State

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
        Largest distance of any vertex between the reloaded shape and the scanned one.
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
    guess = _first_guess(body)
    points = find_rest(
        _Reference(guess, element, loads), guess.reference_points, tolerance_mm, iterations, progress
    )
    return body.on_reference(points)


def _first_guess(body: Body) -> Body:
    """The shape that rests in the live discretisation; the scanned one for tissues or supports it does not take."""
    try:
        return at_rest(body)
    except SolverError:
        return body


class _Reference(Inverse):
    """An element of the reference tier."""

    def __init__(self, body: Body, element: ElementName, loads: Sequence[Load]) -> None:
        self.body, self.element, self.loads = body, element, loads
        self._last: State | None = None

    def renew(self, x: Array) -> bool:
        """A forward solve linearises for itself."""
        return False

    def misfit(self, x: Array) -> Array | None:
        """Scanned less reloaded shape, mm, shape (n, 3); None where the shape folds or has no equilibrium."""
        if (tet_volumes(x, self.body.organ.tets) <= 0).any():
            self.refusal = FOLDS
            return None
        try:
            trial = Equilibrium(self.body.on_reference(x), self.element, self.loads)
            self._last = trial.solve(start=self._last)
        except SolverError as error:
            self.refusal = f"The stress-free shape cannot bear its load. {error}"
            return None
        return -self._last.displacement
