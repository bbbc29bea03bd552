"""The stress-free shape of an organ that the scan shows under gravity.

Wanted are reference points X for which the scanned shape x is the equilibrium under gravity. On linear
tetrahedra the out-of-balance force r of the displacement x − X is zero there, and to first order it changes
by −K dX with the stiffness K of the organ: the inverse problem (Govindjee & Mihalic 1996, Comput Methods
Appl Mech Eng 136:47) is solved with K factored once, X ← X + K⁻¹ r. For other elements X is moved by the
misfit of a forward solve, the inverse fixed point of Sellier (2011, J Mech Phys Solids 59:1364). Either is
sped up by Anderson's acceleration over the last shapes (Walker & Ni 2011, SIAM J Numer Anal 49:1715), which
takes it through the large sag of an organ on soft attachments. A forward solve has the last word.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anatomy.progress import Progress, silent
from solver.body import Body, tet_volumes
from solver.elements import ElementName, make_element
from solver.equilibrium import Equilibrium, State
from solver.errors import SolverError
from solver.linear import Factor

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
    search = _ByForce(body, element) if element in ("P1-averaged", "P1") else _BySolve(element)
    points, trial = body.reference_points, body
    shapes: list[Array] = []
    misfits: list[Array] = []
    distance = np.inf
    try:
        for count in range(1, iterations + 1):
            misfit = search.misfit(trial)
            distance = float(np.linalg.norm(misfit, axis=1).max())
            progress("stress-free shape", min(0.99, count / iterations))
            if distance < 0.5 * tolerance_mm and search.confirms(trial, tolerance_mm):
                return trial
            shapes, misfits = [*shapes, points][-MEMORY:], [*misfits, misfit][-MEMORY:]
            points = _unfolded(body, points, _next(shapes, misfits))
            trial = body.on_reference(points)
    finally:
        search.close()
    raise SolverError(
        f"The stress-free shape did not settle in {iterations} steps (the reloaded organ is {distance:.2g} mm "
        "off the scan); stiffen the attachments, or switch gravity off."
    )


class _ByForce:
    """Misfit of a shape from its out-of-balance force and the stiffness of the organ, factored once."""

    def __init__(self, body: Body, element: ElementName) -> None:
        self.element = element
        equations = make_element(body, element)
        rest = equations.from_vertices(np.zeros_like(body.reference_points))
        self._factor = Factor(equations.tangent(rest), equations.symmetric)

    def misfit(self, trial: Body) -> Array:
        """How far the reloaded organ would be off the scan, shape (n, 3), mm."""
        equations = make_element(trial, self.element)
        residual = equations.residual(equations.from_vertices(trial.scanned_displacement))
        load = np.zeros(self._factor.size)
        load[: len(residual)] = -residual
        return equations.at_vertices(self._factor.solve(load)[: len(residual)])

    def confirms(self, trial: Body, tolerance_mm: float) -> bool:
        """Whether a forward solve gives the scan back."""
        state = Equilibrium(trial, self.element).solve()
        return float(np.linalg.norm(state.displacement, axis=1).max()) < tolerance_mm

    def close(self) -> None:
        """Free the factor."""
        self._factor.destroy()


class _BySolve:
    """Misfit of a shape from its equilibrium."""

    def __init__(self, element: ElementName) -> None:
        self.element = element
        self._state: State | None = None

    def misfit(self, trial: Body) -> Array:
        """How far the reloaded organ is off the scan, shape (n, 3), mm."""
        equilibrium = Equilibrium(trial, self.element)
        self._state = equilibrium.solve(start=self._state)
        return self._state.displacement

    def confirms(self, trial: Body, tolerance_mm: float) -> bool:
        """The misfit is that of a forward solve already."""
        return True

    def close(self) -> None:
        """Nothing is held."""


def _next(shapes: list[Array], misfits: list[Array]) -> Array:
    """Anderson's mix of the last shapes: the combination of least misfit, moved by that misfit."""
    if len(shapes) == 1:
        return shapes[0] - misfits[0]
    last = misfits[-1].ravel()
    change = np.stack([last - m.ravel() for m in misfits[:-1]], axis=1)
    weight = np.linalg.lstsq(change, last, rcond=1e-8)[0]
    shape, misfit = shapes[-1].copy(), misfits[-1].copy()
    for w, s, m in zip(weight, shapes[:-1], misfits[:-1], strict=True):
        shape -= w * (shapes[-1] - s)
        misfit -= w * (misfits[-1] - m)
    return shape - misfit


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
