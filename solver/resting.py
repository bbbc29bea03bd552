"""Resting: the stress-free shape under which the live discretisation rests in the scanned one.

Wanted are reference points X for which the scanned shape x is in equilibrium with gravity, that is for which the
out-of-balance force r(X) of the displacement u = x − X vanishes (inverse elastostatics; Govindjee & Mihalic 1996,
Comput Methods Appl Mech Eng 136:47). No forward problem has to be solved on the way: to first order dr/dX is minus
the tangent stiffness K, so that X ← X + K⁻¹ r contracts with the strains the weight causes, and Anderson's mixing
(Walker & Ni 2011, SIAM J Numer Anal 49:1715) takes it through large ones. One assembly and one back-solve an
iteration find in a second what forward solves take a minute for (`solver.unloaded`, which serves every element).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anatomy.progress import Progress, silent
from solver.anderson import mixed_step
from solver.averaged import Averaged
from solver.body import Body
from solver.errors import SolverError
from solver.factor import Factor

Array = NDArray[np.float64]

MEMORY = 6
# The tangent is factored anew when this many iterations together leave more than this share of the misfit.
# Each is not asked for more: Anderson's mixing needs some of them to learn, and forgets when the tangent changes.
PATIENCE, POOR_CONTRACTION = 6, 0.1
SMALLEST_JACOBIAN = 0.3


def at_rest(body: Body, tolerance_mm: float = 1e-3, progress: Progress = silent) -> Body:
    """The same body on the stress-free shape that makes it rest in the scanned one.

    Parameters
    ----------
    body : Body
        Its organ is the shape under gravity; its stress-free shape is the first guess.
    tolerance_mm : float
        Largest correction of any vertex at the end.
    progress : Progress

    Returns
    -------
    Body
        Without gravity the body itself.

    Raises
    ------
    SolverError
        If a piece is held by nothing, or no such shape is found.
    """
    if not np.any(body.gravity_mm_s2):
        return body
    body.check_supported()
    shape = Averaged(body)
    factor = Factor(shape.pattern, shape.node, shape.points, shape.negative)
    return body.on_reference(rest_points(shape, factor, tolerance_mm, progress=progress))


def rest_points(
    shape: Averaged,
    factor: Factor,
    tolerance_mm: float = 1e-3,
    iterations: int = 120,
    progress: Progress = silent,
) -> Array:
    """Stress-free vertex positions under which a discretised body rests in the scanned shape.

    Parameters
    ----------
    shape : Averaged
        On the first guess.
    factor : Factor
        Of its pattern; its values do not matter.
    tolerance_mm : float
        Largest correction of any vertex at the end.
    iterations : int
        At most.
    progress : Progress

    Returns
    -------
    ndarray, shape (n, 3), float64
        mm, LPS.

    Raises
    ------
    SolverError
        If none is found.
    """
    scanned, points = shape.body.organ.points, shape.points
    factor = factor.refilled(shape.tangent(scanned - points))
    misfit = _settled(_misfit(shape, scanned, factor))
    tried: list[tuple[Array, Array]] = []
    first = distance = mark = _largest(misfit)
    for count in range(1, iterations + 1):
        if distance < tolerance_mm:
            return points
        tried = [*tried, (points, misfit)][-MEMORY:]
        found = _advance(shape, scanned, factor, tried)
        if found is not None:
            shape, points, misfit = found
        slow = count % PATIENCE == 0 and _largest(misfit) > POOR_CONTRACTION * mark
        if found is None or slow:
            factor, tried = _renewed(factor, shape, scanned - points), []
            misfit = _settled(_misfit(shape, scanned, factor))
        if count % PATIENCE == 0:
            mark = _largest(misfit)
        distance = _largest(misfit)
        progress("stress-free shape", min(0.99, np.log(first / distance) / np.log(first / tolerance_mm)))
    raise SolverError(
        f"No stress-free shape was found in {iterations} iterations (the last correction was {distance:.2g} mm); "
        "stiffen the attachments, or switch gravity off."
    )


def _renewed(factor: Factor, shape: Averaged, displacement: Array) -> Factor:
    """The tangent of the present shape; the old one where it is not definite."""
    try:
        return factor.refilled(shape.tangent(displacement))
    except SolverError:
        return factor


def _largest(misfit: Array) -> float:
    return float(np.linalg.norm(misfit, axis=1).max())


def _settled(misfit: Array | None) -> Array:
    if misfit is None:
        raise SolverError("The stress-free shape folds the mesh; stiffen the attachments or refine the mesh.")
    return misfit


def _misfit(shape: Averaged, scanned: Array, factor: Factor) -> Array | None:
    """K⁻¹ r, mm, shape (n, 3); None where a tetrahedron would have to be squeezed too far."""
    energy, gradient, _ = shape.evaluate(scanned - shape.points, SMALLEST_JACOBIAN)
    if not np.isfinite(energy) or (shape.volumes <= 0).any():
        return None
    right = np.zeros(len(factor.order))
    right[: gradient.size] = gradient.ravel()
    return factor.solve(right)[: gradient.size].reshape(-1, 3)


def _advance(
    shape: Averaged, scanned: Array, factor: Factor, tried: list[tuple[Array, Array]]
) -> tuple[Averaged, Array, Array] | None:
    """The next shape: Anderson's mix, or as much of the plain correction as folds nothing."""
    points, misfit = tried[-1]
    steps = [misfit * part for part in (1.0, 0.5, 0.25, 0.1)]
    if len(tried) > 1:
        steps.insert(0, mixed_step([p for p, _ in tried], [m for _, m in tried]))
    for step in steps:
        other = shape.reshaped(points + step)
        found = _misfit(other, scanned, factor)
        if found is not None and _largest(found) < 2.0 * _largest(misfit):
            return other, points + step, found
    return None
