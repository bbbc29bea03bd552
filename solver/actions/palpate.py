"""Palpate: a round tip strokes the tissue, to feel what lies beneath."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from solver.actions.act import Act, Vector, checked_duration, checked_name, checked_number, checked_vector
from solver.actions.pressing import Pressing, check_reach, first_touch, inward_normal, probe_tip
from solver.errors import SolverError

if TYPE_CHECKING:
    from solver.field import OperativeField

Array = NDArray[np.float64]

# The tip is pressed in during this share of the time, and strokes during the rest.
PRESS_SHARE = 0.2
# The surface is felt out this densely before the stroke, over the radius of the tip.
SAMPLES_A_RADIUS = 0.5
LONGEST_MM = 1000.0


@dataclass(frozen=True)
class Palpate(Act):
    """Stroke a round tip along a path over the tissue, at one depth or with one force.

    Physics: rigid tip against the deformed outer surface, quasi-static (`solver.live_contact`). The heights at which
    the tip would first touch are found along the path on the tissue as it lies; the tip is pressed in at the beginning
    and then goes along, `depth_mm` below them, or at the depth where its force along the direction is `force_N`. What
    is stiff beneath the surface shows as more force, or as less depth. At the end an event "palpation" holds both along
    the path, and where the tissue felt stiffest. The tip stays until `Release`.

    Parameters
    ----------
    tool : str
        Name of the tool.
    path_mm : tuple of (float, float, float)
        Corners of the path, LPS millimetres, on or near the surface.
    depth_mm : float, optional
        At which the tip goes along, up to 100; either this or force_N.
    force_N : float, optional
        With which the tip goes along; either this or depth_mm.
    direction : (float, float, float), optional
        Along which the tip presses, LPS. Default: straight into the surface at the middle of the path.
    radius_mm : float
        Radius of the tip.
    friction : float
        Coulomb's coefficient.
    duration_s : float
        Time it takes, pressing in included.

    Raises
    ------
    SolverError
        If the path has fewer than two points, both or neither of depth and force are given, or a value is out of
        range.
    """

    act: ClassVar[str] = "palpate"
    tool: str
    path_mm: tuple[Vector, ...]
    depth_mm: float | None = None
    force_N: float | None = None
    direction: Vector | None = None
    radius_mm: float = 5.0
    friction: float = 0.0
    duration_s: float = 3.0

    def __post_init__(self) -> None:
        checked_name(self.tool, "The tool")
        if not isinstance(self.path_mm, (tuple, list)) or len(self.path_mm) < 2:
            raise SolverError(f"The path of a palpation is {self.path_mm!r}; give at least two points.")
        path = tuple(checked_vector(p, "A point of path_mm") for p in self.path_mm)
        if any(first == second for first, second in pairwise(path)):
            raise SolverError("The path of a palpation stands still between two of its points.")
        length = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
        if length > LONGEST_MM:
            raise SolverError(f"The path of a palpation is {length:g} mm long; give at most {LONGEST_MM:g}.")
        object.__setattr__(self, "path_mm", path)
        if (self.depth_mm is None) == (self.force_N is None):
            raise SolverError("A palpation needs either 'depth_mm' or 'force_N'.")
        for name in ("depth_mm", "force_N", "radius_mm", "duration_s"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, checked_number(getattr(self, name), name, positive=True))
        checked_duration(self.duration_s)
        check_reach(self.depth_mm, self.radius_mm)
        object.__setattr__(self, "friction", checked_number(self.friction, "friction"))
        if self.direction is not None:
            object.__setattr__(self, "direction", checked_vector(self.direction, "direction"))
            if self.direction == (0.0, 0.0, 0.0):
                raise SolverError("The direction of a palpation is zero; give a direction such as [0, 1, 0].")

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """Feel out the path, and bring the tip to its beginning."""
        path = np.asarray(self.path_mm, dtype=np.float64)
        lengths = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))]
        if self.direction is None:
            direction = inward_normal(field, _on_line(path, lengths, lengths[-1] / 2), self.radius_mm)
        else:
            direction = np.asarray(self.direction) / np.linalg.norm(self.direction)
        tip = probe_tip(self.radius_mm, direction, 0.0)
        count = max(2, int(np.ceil(lengths[-1] / (SAMPLES_A_RADIUS * self.radius_mm))) + 1)
        samples = np.linspace(0.0, lengths[-1], count)
        touches = np.array([first_touch(field, tip, _on_line(path, lengths, s), direction) for s in samples])
        pressing = Pressing(field, self.tool, tip.at(touches[0]), direction, self.friction)
        felt: list[tuple[float, float, float]] = []
        last = 0.0

        def carry(share: float) -> None:
            nonlocal last
            pressed = min(1.0, share / PRESS_SHARE)
            along = lengths[-1] * max(0.0, (share - PRESS_SHARE) / (1.0 - PRESS_SHARE))
            if last >= PRESS_SHARE:
                felt.append((lengths[-1] * (last - PRESS_SHARE) / (1.0 - PRESS_SHARE),
                             pressing.force_N(), pressing.depth_mm))  # fmt: skip
            base = np.array([np.interp(along, samples, touches[:, axis]) for axis in range(3)])
            if self.depth_mm is not None:
                pressing.to(pressed * self.depth_mm, base)
            else:
                assert self.force_N is not None
                pressing.to(pressing.depth_for(pressed * self.force_N, 0.2 * self.radius_mm), base)
            last = share
            if share >= 1.0:
                pressing.settle(self.force_N)
                felt.append((along, pressing.force_N(), pressing.depth_mm))
                self._tell(field, np.array(felt), path, lengths)

        return carry

    def _tell(self, field: OperativeField, felt: Array, path: Array, lengths: Array) -> None:
        """Say what was felt, and where most."""
        along, force, depth = felt.T
        stiffness = force / np.maximum(depth, 1e-9)
        most = int(np.argmax(stiffness))
        x, y, z = _on_line(path, lengths, along[most])
        median = float(np.median(stiffness))
        field.tell(
            "palpation",
            f"{self.tool} felt the tissue stiffest at ({x:.0f}, {y:.0f}, {z:.0f}) mm: {stiffness[most]:.2f} N/mm, "
            f"half of the way {median:.2f} N/mm or less.",
            tool=self.tool,
            stiffest_mm=[float(x), float(y), float(z)],
            stiffest_along_mm=float(along[most]),
            stiffest_N_mm=float(stiffness[most]),
            median_N_mm=median,
            along_mm=along.tolist(),
            force_N=force.tolist(),
            depth_mm=depth.tolist(),
        )


def _on_line(path: Array, lengths: Array, along: float) -> Array:
    return np.array([np.interp(along, lengths, path[:, axis]) for axis in range(3)])
