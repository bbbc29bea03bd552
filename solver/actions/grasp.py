"""Grasp: jaws close on the tissue around a point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from solver.actions.act import Act, Vector, checked_name, checked_number
from solver.actions.place import checked_place, place_on
from solver.errors import SolverError

if TYPE_CHECKING:
    from solver.field import OperativeField

# No instrument takes more tissue at once, and a hand hardly.
LARGEST_RADIUS_MM = 50.0


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
        Radius of the ball of tissue that is held, at most 50.
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
        if self.radius_mm > LARGEST_RADIUS_MM:
            raise SolverError(f"radius_mm is {self.radius_mm:g}; give at most {LARGEST_RADIUS_MM:g}.")
        towards, point = checked_place("grasp", self.structure, self.towards, self.point_mm)
        object.__setattr__(self, "towards", towards)
        object.__setattr__(self, "point_mm", point)

    def point(self, field: OperativeField) -> Vector:
        """Where it takes hold on the present shape, LPS millimetres."""
        return place_on(field, "grasp", self.structure, self.towards, self.point_mm)

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """Close the jaws at once."""
        field.live.grasp(self.tool, self.point(field), self.radius_mm)
        return lambda share: None
