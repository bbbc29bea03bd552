"""Staple: a line of staples draws the two sides of a path together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from solver.actions.act import Act, Vector, checked_duration, checked_name, checked_number
from solver.actions.suture import checked_points, draw
from solver.anchors import Anchors
from solver.errors import SolverError

if TYPE_CHECKING:
    from solver.field import OperativeField

Array = NDArray[np.float64]

# Beyond every cartridge that is sold: nearest and farthest staples, widest and highest staple; and longest line, mm.
SPACING_MM, WIDEST_MM, LONGEST_MM = (1.0, 50.0), 30.0, 1000.0


@dataclass(frozen=True)
class Staple(Act):
    """Close a line of staples over a path, such as the edge of an incision.

    Physics: every staple joins a place on the left of the path to one on its right and is closed to its height, with
    whatever force that takes; then it holds them there (`solver.suture`). A staple of 3.5 mm legs closes to 1.5 mm
    (the blue cartridge; Chekan & Whelan 2014, Med Devices 7:305). The tension it keeps is compared with what the
    tissue stands, as of a suture.

    Parameters
    ----------
    name : str
        Of the line.
    path_mm : tuple of (float, float, float)
        Points on the surface of the present shape, LPS millimetres.
    width_mm : float
        Distance of the two places of a staple before it is closed.
    spacing_mm : float
        Along the path, 1 to 50.
    height_mm : float
        Distance of the two places at the end.
    duration_s : float
        Time it takes.

    Raises
    ------
    SolverError
        If a value is out of range. When it begins: if the path leaves the organ, or the name is taken.
    """

    act: ClassVar[str] = "staple"
    name: str
    path_mm: tuple[Vector, ...]
    width_mm: float = 6.0
    spacing_mm: float = 5.0
    height_mm: float = 1.5
    duration_s: float = 2.0

    def __post_init__(self) -> None:
        checked_name(self.name, "The name of the staple line")
        for value in ("width_mm", "spacing_mm", "height_mm"):
            object.__setattr__(self, value, checked_number(getattr(self, value), value, positive=True))
        object.__setattr__(self, "duration_s", checked_duration(self.duration_s))
        if not SPACING_MM[0] <= self.spacing_mm <= SPACING_MM[1]:
            raise SolverError(
                f"spacing_mm is {self.spacing_mm:g}; give {SPACING_MM[0]:g} to {SPACING_MM[1]:g}."
            )
        for value in ("width_mm", "height_mm"):
            if getattr(self, value) > WIDEST_MM:
                raise SolverError(f"{value} is {getattr(self, value):g}; give at most {WIDEST_MM:g}.")
        object.__setattr__(self, "path_mm", checked_points(self.path_mm, "path_mm"))
        length = float(np.linalg.norm(np.diff(self.path_mm, axis=0), axis=1).sum())
        if length > LONGEST_MM:
            raise SolverError(f"The line of staples is {length:g} mm long; give at most {LONGEST_MM:g}.")

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """Put the staples on."""
        positions, organ = field.live.positions, field.organ
        at, along = spaced(np.asarray(self.path_mm), self.spacing_mm)
        Anchors.at(organ, positions, at, "Staple")
        across = np.cross(_normals(positions[organ.exterior], at, self.width_mm), along)
        across *= 0.5 * self.width_mm / np.linalg.norm(across, axis=1)[:, None]
        sides = np.stack([at - across, at + across], axis=1).reshape(-1, 3)
        anchors = Anchors.at(organ, positions, sides, "A side of a staple, number")
        thread = np.repeat(np.arange(len(at)), 2)
        height = np.full(len(at), self.height_mm)
        return draw(field, self.name, anchors, thread, height, np.inf, False, None)


def _normals(corners: Array, at: Array, reach_mm: float) -> Array:
    """Outward normals, of any length, of a surface of triangles (t, 3, 3) around points (k, 3).

    Seen from as far as a staple is wide: the two walls of a cleft cancel, and what is left is the surface it is in.
    """
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) / 2.0
    away = np.linalg.norm(corners.mean(axis=1) - at[:, None, :], axis=2)
    reach = np.maximum(reach_mm, 2.0 * away.min(axis=1))[:, None]
    return np.asarray(np.exp(-((away / reach) ** 2)) @ area)


def spaced(path: Array, spacing_mm: float) -> tuple[Array, Array]:
    """Points along a polyline, shape (k, 3), its ends among them, and the unit direction there, shape (k, 3)."""
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    far = np.concatenate([[0.0], np.cumsum(steps)])
    count = max(2, round(far[-1] / spacing_mm) + 1)
    wanted = np.linspace(0.0, far[-1], count)
    at = np.stack([np.interp(wanted, far, path[:, axis]) for axis in range(3)], axis=1)
    piece = np.minimum(np.searchsorted(far, wanted, side="right") - 1, len(steps) - 1)
    return at, np.diff(path, axis=0)[piece] / steps[piece][:, None]
