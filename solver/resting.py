"""Resting: the stress-free shape under which a body rests in the scanned one.

Wanted are reference points X for which the scanned shape x is in equilibrium with gravity, that is for which the
out-of-balance force r(X) of the displacement u = x − X vanishes (inverse elastostatics; Govindjee & Mihalic 1996,
Comput Methods Appl Mech Eng 136:47). No forward problem has to be solved on the way: to first order dr/dX is minus
the tangent stiffness K, so that X ← X + K⁻¹ r contracts with the strains the weight causes, and Anderson's mixing
(Walker & Ni 2011, SIAM J Numer Anal 49:1715) takes it through large ones. One assembly and one back-solve an
iteration find what forward solves take many times as long for.

The iteration is `find_rest`, for any `Inverse`: here that of the live discretisation (`rest_points`, `at_rest`), in
`solver.unloaded` that of every element of the reference tier, whose correction is a forward solve's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

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
ITERATIONS = 120
# The tangent is factored anew when this many iterations together leave more than this share of the misfit.
# Each is not asked for more: Anderson's mixing needs some of them to learn, and forgets when the tangent changes.
PATIENCE, POOR_CONTRACTION = 6, 0.1
SMALLEST_JACOBIAN = 0.3
FOLDS = (
    "The stress-free shape folds the mesh; stiffen the attachments, refine the mesh, or switch gravity off."
)


class Inverse(ABC):
    """A discretisation that is asked for its stress-free shape; an iterate is that shape, (n, 3) mm.

    Attributes
    ----------
    refusal : str
        Why the last misfit that was None is.
    """

    refusal = FOLDS

    @abstractmethod
    def renew(self, x: Array) -> bool:
        """Linearise anew at x; False where there is nothing to renew."""

    @abstractmethod
    def misfit(self, x: Array) -> Array | None:
        """Correction of x, of its shape; None where there is none, as `refusal` says."""


def find_rest(
    inverse: Inverse,
    x: Array,
    tolerance_mm: float,
    iterations: int = ITERATIONS,
    progress: Progress = silent,
) -> Array:
    """The iterate at which the scanned shape is in equilibrium.

    Parameters
    ----------
    inverse : Inverse
    x : ndarray
        First guess.
    tolerance_mm : float
        Largest correction of any vertex at the end.
    iterations : int
        At most.
    progress : Progress

    Raises
    ------
    SolverError
        If none is found.
    """
    inverse.renew(x)
    misfit = _settled(inverse, x)
    tried: list[tuple[Array, Array]] = []
    first = distance = mark = _largest(misfit)
    for count in range(1, iterations + 1):
        if distance < tolerance_mm:
            return x
        tried = [*tried, (x, misfit)][-MEMORY:]
        found = _advance(inverse, tried)
        if found is not None:
            x, misfit = found
        slow = count % PATIENCE == 0 and _largest(misfit) > POOR_CONTRACTION * mark
        if (found is None or slow) and inverse.renew(x):
            tried, misfit = [], _settled(inverse, x)
        elif found is None:
            raise SolverError(inverse.refusal)
        if count % PATIENCE == 0:
            mark = _largest(misfit)
        distance = _largest(misfit)
        reached = np.log(first / max(distance, 1e-300)) / np.log(first / tolerance_mm)
        progress("stress-free shape", float(np.clip(reached, 0.0, 0.99)))
    raise SolverError(
        f"No stress-free shape was found in {iterations} iterations (the last correction was {distance:.2g} mm); "
        "stiffen the attachments, or switch gravity off."
    )


def _largest(misfit: Array) -> float:
    """Largest correction of a vertex, mm."""
    return float(np.linalg.norm(misfit, axis=1).max())


def _settled(inverse: Inverse, x: Array) -> Array:
    misfit = inverse.misfit(x)
    if misfit is None:
        raise SolverError(inverse.refusal)
    return misfit


def _advance(inverse: Inverse, tried: list[tuple[Array, Array]]) -> tuple[Array, Array] | None:
    """The next iterate: Anderson's mix, or as much of the plain correction as folds nothing."""
    x, misfit = tried[-1]
    steps = [misfit * part for part in (1.0, 0.5, 0.25, 0.1)]
    if len(tried) > 1:
        steps.insert(0, mixed_step([p for p, _ in tried], [m for _, m in tried]))
    for step in steps:
        found = inverse.misfit(x + step)
        if found is not None and _largest(found) < 2.0 * _largest(misfit):
            return x + step, found
    return None


class _Live(Inverse):
    """The live discretisation: an iterate is the stress-free shape alone, shape (n, 3)."""

    def __init__(self, shape: Averaged, factor: Factor) -> None:
        self.shape, self.factor, self.scanned = shape, factor, shape.body.organ.points
        self._factored = False

    def renew(self, x: Array) -> bool:
        """Factor the tangent at x; the old factor stays where that one is not definite."""
        try:
            self.factor = self.factor.refilled(self.shape.reshaped(x).tangent(self.scanned - x))
        except SolverError:
            if not self._factored:
                raise
        self._factored = True
        return True

    def misfit(self, x: Array) -> Array | None:
        """K⁻¹ r, mm, shape (n, 3)."""
        shape = self.shape.reshaped(x)
        energy, gradient, _ = shape.evaluate(self.scanned - x, SMALLEST_JACOBIAN)
        if not np.isfinite(energy) or (shape.volumes <= 0).any():
            return None
        right = np.zeros(len(self.factor.order))
        right[: gradient.size] = gradient.ravel()
        return self.factor.solve(right)[: gradient.size].reshape(-1, 3)


def at_rest(
    body: Body, tolerance_mm: float = 1e-3, iterations: int = ITERATIONS, progress: Progress = silent
) -> Body:
    """The same body on the stress-free shape that makes it rest in the scanned one.

    Parameters
    ----------
    body : Body
        Its organ is the shape under gravity; its stress-free shape is the first guess.
    tolerance_mm : float
        Largest correction of any vertex at the end.
    iterations : int
        At most.
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
    return body.on_reference(rest_points(shape, factor, tolerance_mm, iterations, progress))


def rest_points(
    shape: Averaged,
    factor: Factor,
    tolerance_mm: float = 1e-3,
    iterations: int = ITERATIONS,
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
    return find_rest(_Live(shape, factor), shape.points, tolerance_mm, iterations, progress)
