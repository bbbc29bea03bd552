"""Grasp: jaws close on the tissue around a point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from solver.actions.act import Act, Vector, checked_name, checked_number, checked_vector
from solver.errors import SolverError

if TYPE_CHECKING:
    from solver.field import OperativeField


@dataclass(frozen=True)
class Grasp(Act):
    """Take hold of the tissue around a point of its present shape.

    Physics: every vertex within `radius_mm` follows the tool rigidly from now on, in translation; the tissue
    neither slips nor tears. Jaws of laparoscopic graspers are 5 mm wide and 20 to 30 mm long (Heijnsdijk et al.
    2004, Surg Endosc 18:1048), so that a ball of 8 mm radius holds about as much tissue. The point is given
    either directly, or as that point of a structure's outer surface which lies farthest in a direction.

    Parameters
    ----------
    tool : str
        Name of the tool.
    structure : str, optional
        Structure to grasp, with `towards`.
    towards : (float, float, float), optional
        Direction in LPS; its length does not matter.
    radius_mm : float
        Radius of the ball of tissue that is held.
    point_mm : (float, float, float), optional
        Point to grasp instead, LPS millimetres.

    Raises
    ------
    SolverError
        If neither or both ways to say where are used, or a value is out of range.
    """

    act: ClassVar[str] = "grasp"
    tool: str
    structure: str | None = None
    towards: Vector | None = None
    radius_mm: float = 8.0
    point_mm: Vector | None = None

    def __post_init__(self) -> None:
        checked_name(self.tool, "The tool")
        object.__setattr__(self, "radius_mm", checked_number(self.radius_mm, "radius_mm", positive=True))
        by_direction = self.structure is not None or self.towards is not None
        if by_direction == (self.point_mm is not None):
            raise SolverError("A grasp needs either 'structure' with 'towards', or 'point_mm'.")
        if self.point_mm is not None:
            object.__setattr__(self, "point_mm", checked_vector(self.point_mm, "point_mm"))
            return
        checked_name(self.structure, "The structure to grasp")
        object.__setattr__(self, "towards", checked_vector(self.towards, "towards"))
        if self.towards == (0.0, 0.0, 0.0):
            raise SolverError("The direction 'towards' is zero; give a direction such as [0, -1, 0].")

    def point(self, field: OperativeField) -> Vector:
        """Where it takes hold on the present shape, LPS millimetres."""
        if self.point_mm is not None:
            return self.point_mm
        organ = field.organ
        if self.structure not in organ.structures.values():
            known = ", ".join(organ.structures.values())
            raise SolverError(f"The organ has no structure '{self.structure}' to grasp; it has {known}.")
        own = organ.region[organ.exterior_tets] == organ.value_of(str(self.structure))
        vertices = np.unique(organ.exterior[own])
        if not len(vertices):
            raise SolverError(f"'{self.structure}' does not reach the surface, so that no tool can grasp it.")
        positions = field.live.positions[vertices]
        farthest = positions[np.argmax(positions @ np.asarray(self.towards))]
        return checked_vector(farthest, "The point")

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """Close the jaws at once."""
        field.live.grasp(self.tool, self.point(field), self.radius_mm)
        return lambda share: None
