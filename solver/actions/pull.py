"""Pull: a tool that holds tissue moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from solver.actions.act import Act, Vector, checked_duration, checked_name, checked_vector
from solver.errors import SolverError

if TYPE_CHECKING:
    from solver.field import OperativeField

# No organ can be drawn farther within its cavity.
FARTHEST_MM = 300.0


@dataclass(frozen=True)
class Pull(Act):
    """Move a tool along a straight line at constant speed; what it holds follows.

    Physics: prescribed displacement of the held tissue; the force is what the tissue answers. Quasi-static, so the
    speed only sets how the way is divided into frames.

    Parameters
    ----------
    tool : str
        A tool that holds tissue.
    by_mm : (float, float, float)
        From where the tool is, LPS millimetres; at most 300 mm far.
    duration_s : float
        Time it takes; 0 moves within one frame.
    """

    act: ClassVar[str] = "pull"
    tool: str
    by_mm: Vector
    duration_s: float = 1.0

    def __post_init__(self) -> None:
        checked_name(self.tool, "The tool")
        object.__setattr__(self, "by_mm", checked_vector(self.by_mm, "by_mm"))
        way = float(np.linalg.norm(self.by_mm))
        if way > FARTHEST_MM:
            raise SolverError(
                f"by_mm leads {way:g} mm away; no organ follows so far, give at most {FARTHEST_MM:g} mm."
            )
        object.__setattr__(self, "duration_s", checked_duration(self.duration_s))

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """Set out from where the tool is."""
        live = field.live
        start, way = live.position_of(self.tool), np.asarray(self.by_mm)
        return lambda share: live.move(self.tool, start + share * way)
