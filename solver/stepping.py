"""What every stepping solver shares: prescribed vertices, and what makes a step no step.

A step counts only if its values are finite, J stays above 0.3 at every quadrature point, and no corner or midpoint of a
cell is turned inside out; what failed is said with the place (Wriggers 2008, Nonlinear Finite Element Methods, ch. 5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solver.body import Body
from solver.errors import SolverError

if TYPE_CHECKING:
    from solver.elements import Element

Array = NDArray[np.float64]
Index = NDArray[np.int64]

MINIMUM_JACOBIAN = 0.3
# Smallest J that a trial iterate may pass through.
FOLDED = 0.05


class StepFailed(Exception):
    """A step that did not reach equilibrium: why, and the part of it that seems in reach."""

    def __init__(self, why: str, reach: float = 0.5) -> None:
        super().__init__(why)
        self.reach = reach


def checked_prescribed(body: Body, prescribed: tuple[ArrayLike, ArrayLike] | None) -> tuple[Index, Array]:
    """Vertices, shape (k,), and displacements from the scan, mm, shape (k, 3), NaN where a component is free.

    Raises
    ------
    SolverError
        If a vertex is outside the mesh or given twice, or a displacement is missing or infinite.
    """
    if prescribed is None:
        return np.empty(0, dtype=np.int64), np.empty((0, 3))
    vertices = np.atleast_1d(np.asarray(prescribed[0], dtype=np.int64))
    target = np.asarray(prescribed[1], dtype=np.float64)
    if target.shape not in ((3,), (1, 3), (len(vertices), 3)):
        raise SolverError(
            f"{len(vertices)} vertices are prescribed and their displacements have shape {target.shape}; "
            f"give ({len(vertices)}, 3)."
        )
    target = np.broadcast_to(target, (len(vertices), 3)).copy()
    count = len(body.organ.points)
    if len(vertices) and (vertices.min() < 0 or vertices.max() >= count):
        raise SolverError(f"A prescribed vertex is outside 0…{count - 1}.")
    if len(np.unique(vertices)) != len(vertices):
        raise SolverError("A vertex is prescribed twice; give each vertex one displacement.")
    if np.isinf(target).any():
        raise SolverError("A prescribed displacement is infinite; give millimetres.")
    return vertices, target


def fixed_unknowns(element: Element, vertices: Index, target: Array) -> tuple[Index, Array]:
    """Unknowns that prescribed vertices fix, in ascending order, and their values, shape (f,).

    Midpoints of edges between two vertices that are prescribed follow.
    """
    body = element.body
    wanted = np.full((len(body.organ.points), 3), np.nan)
    wanted[vertices] = target + body.scanned_displacement[vertices]
    known = element.interpolation @ np.isfinite(wanted) > 0.999
    values = element.interpolation @ np.nan_to_num(wanted)
    fixed = element.displacements[known]
    order = np.argsort(fixed)
    return fixed[order], values[known][order]


def check_shape(element: Element, x: Array) -> None:
    """Refuse unknowns that are not finite, crush the tissue, or turn a cell inside out; collective.

    Raises
    ------
    StepFailed
        Says why and where.
    """
    body, processes = element.body, element.body.processes
    if not processes.every(bool(np.isfinite(x).all())):
        raise StepFailed("the displacement is not finite")
    jacobians = element.jacobians(x)
    if processes.smallest(jacobians) <= MINIMUM_JACOBIAN:
        raise StepFailed(f"the tissue is crushed ({where_jacobian(body, jacobians)})")
    everywhere = element.jacobians(x, nodes=True)
    if processes.smallest(everywhere) <= 0.0:
        raise StepFailed(f"the tissue is turned inside out ({where_jacobian(body, everywhere)})")


def where_jacobian(body: Body, jacobians: Array) -> str:
    """Smallest J of the cells of all processes, with its tissue and place; collective."""
    if not len(jacobians):
        return str(body.processes.of_smallest(np.inf, ""))
    worst = int(np.argmin(jacobians))
    organ, tet = body.organ, body.tet_of_cell[worst]
    at = organ.points[organ.tets[tet]].mean(axis=0)
    name = organ.structures[int(organ.region[tet])]
    where = f"J = {jacobians[worst]:.2f} in {name} at x {at[0]:.0f}, y {at[1]:.0f}, z {at[2]:.0f} mm"
    return str(body.processes.of_smallest(float(jacobians[worst]), where))


def where_force(element: Element, residual: Array, fixed: Index) -> str:
    """Place of the largest out-of-balance force; collective."""
    clean = residual.copy()
    clean[fixed] = 0.0
    forces = element.forces_at_vertices(clean)
    at = element.body.organ.points[int(np.argmax(np.linalg.norm(forces, axis=1)))]
    return f"largest at x {at[0]:.0f}, y {at[1]:.0f}, z {at[2]:.0f} mm"
