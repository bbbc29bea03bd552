"""The stress-free shape of an organ that the scan shows under gravity.

The live discretisation has an inverse solve of its own (`solver.resting`), which gives the first guess here. From
there X is moved by the misfit of a forward solve, the inverse fixed point of Sellier (2011, J Fluids Struct
27:1461), sped up by Anderson's acceleration over the last shapes (Walker & Ni 2011, SIAM J Numer Anal 49:1715). A
forward solve of the element asked for has the last word.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anatomy.progress import Progress, silent
from solver.anderson import mixed_step
from solver.body import Body, tet_volumes
from solver.elements import ElementName
from solver.equilibrium import Equilibrium
from solver.errors import SolverError
from solver.resting import at_rest

Array = NDArray[np.float64]

MEMORY = 5


def unload(
    body: Body,
    element: ElementName = "P1-averaged",
    tolerance_mm: float = 0.01,
    iterations: int = 40,
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
        Largest distance of any vertex between the scanned shape and the reloaded one.
    iterations : int
        Shapes tried at most.
    progress : Progress

    Returns
    -------
    Body
        With `reference_points` the stress-free shape and `scanned_displacement` leading to the scan. Without
        gravity the body itself.

    Raises
    ------
    SolverError
        If the body is not held, the fixed point does not settle, or a step of it folds the mesh.
    """
    if not np.any(body.gravity_mm_s2):
        return body
    body.check_supported()
    trial = _first_guess(body)
    points, state = trial.reference_points, None
    shapes: list[Array] = []
    corrections: list[Array] = []
    distance = np.inf
    for count in range(1, iterations + 1):
        state = Equilibrium(trial, element).solve(start=state)
        distance = float(np.linalg.norm(state.displacement, axis=1).max())
        progress("stress-free shape", min(0.99, count / iterations))
        if distance < tolerance_mm:
            return trial
        shapes, corrections = [*shapes, points][-MEMORY:], [*corrections, -state.displacement][-MEMORY:]
        points = _unfolded(body, points, points + mixed_step(shapes, corrections))
        trial = body.on_reference(points)
    raise SolverError(
        f"The stress-free shape did not settle in {iterations} steps (the reloaded organ is {distance:.2g} mm "
        "off the scan); stiffen the attachments, or switch gravity off."
    )


def _first_guess(body: Body) -> Body:
    """The shape that rests in the live discretisation; the scanned one for tissues that it does not take."""
    try:
        return at_rest(body)
    except SolverError:
        return body


def _unfolded(body: Body, old: Array, new: Array) -> Array:
    """`new`, or as much of the way to it as leaves every tetrahedron a tenth of its volume."""
    before = tet_volumes(old, body.organ.tets)
    part = 1.0
    while part > 1 / 64:
        points = old + part * (new - old)
        if (tet_volumes(points, body.organ.tets) > 0.1 * before).all():
            return points
        part /= 2
    raise SolverError(
        "The stress-free shape folds the mesh; stiffen the attachments, refine the mesh, or switch gravity off."
    )
