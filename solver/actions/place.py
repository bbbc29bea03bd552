"""Place: where on an organ an act begins, given as a point or as the farthest point of a structure in a direction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from solver.actions.act import Vector, checked_name, checked_vector
from solver.errors import SolverError

if TYPE_CHECKING:
    from solver.field import OperativeField


def checked_place(
    act: str, structure: Any, towards: Any, point_mm: Any
) -> tuple[Vector | None, Vector | None]:
    """`towards` and `point_mm` made sure of: one of the two ways to say where, and only one.

    Raises
    ------
    SolverError
    """
    by_direction = structure is not None or towards is not None
    if by_direction == (point_mm is not None):
        raise SolverError(f"A {act} needs either 'structure' with 'towards', or 'point_mm'.")
    if point_mm is not None:
        return None, checked_vector(point_mm, "point_mm")
    checked_name(structure, f"The structure to {act}")
    direction = checked_vector(towards, "towards")
    if direction == (0.0, 0.0, 0.0):
        raise SolverError("The direction 'towards' is zero; give a direction such as [0, -1, 0].")
    return direction, None


def place_on(
    field: OperativeField, act: str, structure: str | None, towards: Vector | None, point_mm: Vector | None
) -> Vector:
    """The place on the present shape, LPS millimetres.

    Raises
    ------
    SolverError
        If the organ has no such structure, or it does not reach the surface.
    """
    if point_mm is not None:
        return point_mm
    organ = field.organ
    if structure not in organ.structures.values():
        known = ", ".join(organ.structures.values())
        raise SolverError(f"The organ has no structure '{structure}' to {act}; it has {known}.")
    own = organ.region[organ.exterior_tets] == organ.value_of(str(structure))
    vertices = np.unique(organ.exterior[own])
    if not len(vertices):
        raise SolverError(f"'{structure}' does not reach the surface, so that no tool can {act} it.")
    positions = field.live.positions[vertices]
    farthest = positions[np.argmax(positions @ np.asarray(towards))]
    return checked_vector(farthest, "The point")
