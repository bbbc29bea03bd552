"""A converged equilibrium, and how another solve goes on from one.

What was solved with one element starts another through the displacement of the vertices, and its own through every
unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solver.elements import Element, ElementName
from solver.errors import SolverError

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class State:
    """A converged equilibrium.

    Parameters
    ----------
    displacement : ndarray, shape (n, 3), float64
        Of the organ's vertices from the scanned shape, mm.
    from_reference : ndarray, shape (n, 3), float64
        The same from the stress-free shape.
    pressure_kPa : ndarray, shape (n,) or None
        Volumetric stress at the vertices, positive in expansion; None for displacement elements.
    held : ndarray, shape (k,), int64
        Vertices whose displacement was prescribed.
    reaction_mN : ndarray, shape (k, 3), float64
        Force that holds each of them.
    minimum_jacobian : float
        Smallest volume ratio at any quadrature point.
    strain_energy_uJ : float
        Energy stored in tissues and capsules.
    residual : float
        Out-of-balance force relative to the forces in play.
    iterations, steps : int
        Newton iterations and load steps.
    seconds : float
        Wall time.
    element : str
        Element it was solved with.
    solution : ndarray, shape (unknowns,), float64
        Every unknown of that element that this process owns, to go on from.
    unknowns : int
        Size of the system, on all processes.
    relaxed : bool
        Whether the path of equilibria ended on the way, at a limit point, and the body came to rest beyond it.
    linear_iterations : int
        Krylov iterations of all linear systems together.
    """

    displacement: Array
    from_reference: Array
    pressure_kPa: Array | None
    held: Index
    reaction_mN: Array
    minimum_jacobian: float
    strain_energy_uJ: float
    residual: float
    iterations: int
    steps: int
    seconds: float
    element: ElementName
    solution: Array
    unknowns: int
    relaxed: bool = False
    linear_iterations: int = 0


def start_from(element: Element, start: State | Array | None) -> Array:
    """Unknowns of an element to start from.

    Parameters
    ----------
    element : Element
    start : State or ndarray, shape (n, 3), or None
        A state, whose unknowns are taken where it is of the same element, or displacement of the organ's vertices
        from the scanned shape, mm; None is the scanned shape.

    Raises
    ------
    SolverError
        If the state or displacement is of another mesh, or not finite.
    """
    scanned = element.body.scanned_displacement
    if isinstance(start, State):
        if start.element == element.name and start.displacement.shape == scanned.shape:
            return start.solution.copy()
        start = start.displacement
    moved = np.zeros_like(scanned) if start is None else np.asarray(start, dtype=np.float64)
    if moved.shape != scanned.shape or not np.isfinite(moved).all():
        raise SolverError(
            f"The displacement to start from has shape {moved.shape}; give ({len(scanned)}, 3) finite numbers in mm."
        )
    return element.from_vertices(scanned + moved)
