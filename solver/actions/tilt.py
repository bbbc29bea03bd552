"""Tilt: the table is tilted with the patient on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from solver.actions.act import Act, Vector, checked_duration, checked_number, checked_vector
from solver.errors import SolverError
from solver.posture import LOAD, Posture, turned

if TYPE_CHECKING:
    from solver.field import OperativeField

# Axis, LPS, about which each turns the patient by the right-hand rule: x points to the patient's left, z to the head.
POSITIONS: dict[str, Vector] = {
    "reverse trendelenburg": (1.0, 0.0, 0.0),
    "trendelenburg": (-1.0, 0.0, 0.0),
    "left side down": (0.0, 0.0, 1.0),
    "right side down": (0.0, 0.0, -1.0),
}
STEEPEST_DEG = 90.0


@dataclass(frozen=True)
class Tilt(Act):
    """Turn the patient from the present position; turns add up.

    Physics: in the patient's frame gravity turns the other way, and the organ finds its rest under it
    (`solver.posture`). The patient slides on nothing. Reverse Trendelenburg is head up, Trendelenburg head down.

    Parameters
    ----------
    degrees : float
        Above 0, at most 90.
    position : str, optional
        "reverse trendelenburg", "trendelenburg", "left side down" or "right side down".
    axis : (float, float, float), optional
        Instead: axis in LPS about which the patient is turned by the right-hand rule; its length does not matter.
    duration_s : float
        Time it takes; 0 is within one frame.

    Raises
    ------
    SolverError
        If the angle or position is out of range. When it begins: if the body has no weight, or gravity would be
        more than 90° from where it is on a level table.
    """

    act: ClassVar[str] = "tilt"
    degrees: float
    position: str | None = None
    axis: Vector | None = None
    duration_s: float = 3.0

    def __post_init__(self) -> None:
        degrees = checked_number(self.degrees, "degrees", positive=True)
        if degrees > STEEPEST_DEG:
            raise SolverError(f"degrees is {degrees:g}; a table tilts by at most {STEEPEST_DEG:g}°.")
        object.__setattr__(self, "degrees", degrees)
        object.__setattr__(self, "duration_s", checked_duration(self.duration_s))
        if (self.position is None) == (self.axis is None):
            raise SolverError("A tilt needs either 'position' or 'axis'.")
        if self.axis is not None:
            object.__setattr__(self, "axis", checked_vector(self.axis, "axis"))
            if self.axis == (0.0, 0.0, 0.0):
                raise SolverError("The axis is zero; give a direction such as [1, 0, 0].")
        elif self.position not in POSITIONS:
            raise SolverError(f"The position {self.position!r} is unknown; known are {', '.join(POSITIONS)}.")

    @property
    def turning_axis(self) -> Vector:
        """Unit axis about which the patient is turned, LPS."""
        axis = np.asarray(self.axis if self.axis is not None else POSITIONS[str(self.position)])
        return checked_vector(axis / np.linalg.norm(axis), "axis")

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """Set out from the present position."""
        live = field.live
        level = live.body.gravity_mm_s2
        if not np.any(level):
            raise SolverError(
                "The body has no weight, so that tilting it changes nothing; build it with gravity."
            )
        axis = np.asarray(self.turning_axis)
        start = gravity_of(field)
        end = turned(start, axis, -self.degrees)
        away = float(np.degrees(np.arccos(np.clip(end @ level / (level @ level), -1.0, 1.0))))
        if away > STEEPEST_DEG + 1e-9:
            raise SolverError(
                f"The patient would be tilted by {away:.0f}° from lying level; at most {STEEPEST_DEG:g}° are possible."
            )

        def carry(share: float) -> None:
            posture = live.loads.get(LOAD) or Posture.level(live.body)
            assert isinstance(posture, Posture)
            live.add_load(LOAD, posture.under(turned(start, axis, -share * self.degrees)))
            if share >= 1.0:
                name = self.position or "about an axis"
                field.tell(
                    "tilt",
                    f"Tilted by {self.degrees:g}° ({name}); the patient now lies {away:.0f}° off level.",
                    degrees=self.degrees,
                    off_level_deg=away,
                )

        return carry


def gravity_of(field: OperativeField) -> np.ndarray:
    """Gravity as the patient lies now, mm/s², LPS, shape (3,)."""
    posture = field.live.loads.get(LOAD)
    return posture.gravity_mm_s2 if isinstance(posture, Posture) else field.live.body.gravity_mm_s2
