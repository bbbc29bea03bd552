"""Fibre directions of a body, as functions that the forms of fibre-reinforced laws can read.

They are given for each tetrahedron, and then constant in it, or as a function of the place, as where the fibres of the
heart turn through its wall; then they are tabulated at the ten quadratic nodes of every cell and brought back to unit
length wherever the form is evaluated, because interpolated unit vectors are shorter than one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from solver.backend import fem, ufl
from solver.errors import SolverError

if TYPE_CHECKING:
    from solver.body import Body

Array = NDArray[np.float64]
Fibres = Array | Callable[[Array], Array]


def fibre_fields(body: Body) -> tuple[Any, ...]:
    """Fibre directions of a body, one function a family.

    Parameters
    ----------
    body : Body
        Its `fibres` are those of `Body`, or None.

    Returns
    -------
    tuple of UFL vector on `body.mesh`
        Of unit length: cell-wise constant, or quadratic in each cell where the fibres are a function.

    Raises
    ------
    SolverError
        If the shape is wrong, or a direction that a law needs has no length.
    """
    if body.fibres is None:
        return ()
    if callable(body.fibres):
        return _turning(body, body.fibres)
    count = len(body.organ.tets)
    if body.fibres.ndim != 3 or body.fibres.shape[::2] != (count, 3):
        raise SolverError(f"Fibres have shape {body.fibres.shape}; give ({count}, families, 3) unit vectors.")
    directions = _unit(body, body.fibres)
    space = fem.functionspace(body.mesh, ("DG", 0, (3,)))
    fields = []
    for family in range(directions.shape[1]):
        field = fem.Function(space)
        field.x.array[:] = body.cells_from_organ(directions[:, family]).ravel()
        fields.append(field)
    return tuple(fields)


def _unit(body: Body, fibres: Array) -> Array:
    """Unit directions, shape (m, d, 3), zero where a tissue without fibres was given none."""
    lengths = np.linalg.norm(fibres, axis=2)
    families = np.zeros(256, dtype=np.int64)
    for value, name in body.organ.structures.items():
        families[value] = body.tissues[name].law.fibres if name in body.tissues else 0
    needed = families[body.organ.region][:, None] > np.arange(fibres.shape[1])
    if not np.isfinite(lengths).all() or (needed & (lengths == 0)).any():
        raise SolverError("Fibres have directions without a length; give unit vectors.")
    return np.asarray(fibres / np.where(lengths > 0, lengths, 1.0)[..., None])


def _turning(body: Body, directions: Callable[[Array], Array]) -> tuple[Any, ...]:
    space = fem.functionspace(body.mesh, ("DG", 2, (3,)))
    points = space.tabulate_dof_coordinates()[space.dofmap.list]
    # A hair inside of the cell: at an apex the directions of all cells around differ.
    points += 1e-6 * (points.mean(axis=1, keepdims=True) - points)
    order = np.argsort(space.dofmap.list.ravel())
    values = np.asarray(directions(points.reshape(-1, 3)[order]), dtype=np.float64)
    if values.ndim != 3 or values.shape[2] != 3:
        raise SolverError(f"The fibre function gives shape {values.shape}; give (points, families, 3).")
    lengths = np.linalg.norm(values, axis=2)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise SolverError("The fibre function gives directions without a length; give unit vectors.")
    fields = []
    for family in range(values.shape[1]):
        field = fem.Function(space)
        field.x.array[:] = values[:, family].ravel()
        fields.append(field / ufl.sqrt(ufl.inner(field, field)))
    return tuple(fields)
