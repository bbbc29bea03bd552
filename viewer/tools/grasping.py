"""Grasping: press on tissue to close the jaws, drag to pull, let go to hold, Release to open.

The tool moves in the plane through the grasped point that faces the eye, so that the point stays under the cursor;
with Shift it moves along the line of sight instead, up being away from the eye, and the wheel does the same in
steps. Lengths come from the camera: a pixel at the depth of the tool is so many millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from viewer.camera import Eye
from viewer.picking import Hit
from viewer.scene import Scene

RADIUS_MM = 8.0
# One notch of the wheel moves the held tissue this far along the line of sight, mm.
NOTCH_MM = 3.0


class Hands(Protocol):
    """Who carries out what the tool does: the live solver, or its process."""

    def grasp(self, tool: str, point_mm: NDArray[np.float64], radius_mm: float) -> None:
        """Close the jaws on the tissue around a point of the present shape."""

    def move(self, tool: str, position_mm: NDArray[np.float64]) -> None:
        """Bring the tool to a position."""

    def release(self, tool: str) -> None:
        """Open the jaws."""


@dataclass
class _Drag:
    """A drag under way: where it began."""

    start_px: tuple[float, float]
    start_mm: NDArray[np.float64]
    depth_mm: float
    along: bool


class GraspTool:
    """The grasper in a person's hand.

    Parameters
    ----------
    scene : Scene
        What is pointed at, and where the tool is drawn.
    hands : Hands
        Who carries it out.
    name : str
        Tool name in the action log.
    """

    def __init__(self, scene: Scene, hands: Hands, name: str = "grasper") -> None:
        self.scene = scene
        self.hands = hands
        self.name = name
        self.radius_mm = RADIUS_MM
        self.position_mm: NDArray[np.float64] | None = None
        self.hit: Hit | None = None
        self._drag: _Drag | None = None

    @property
    def holds(self) -> bool:
        """Whether tissue is in the jaws."""
        return self.position_mm is not None

    @property
    def dragging(self) -> bool:
        """Whether the tool follows the cursor at the moment."""
        return self._drag is not None

    def press(self, eye: Eye, x: float, y: float, along: bool = False) -> bool:
        """Begin at a pixel: take hold of the tissue there, or go on pulling what is held.

        Returns
        -------
        bool
            Whether the gesture is the tool's; False leaves it to the camera.
        """
        hit = self.scene.pick(*eye.ray(x, y))
        if self.position_mm is not None:
            if not self._on_what_is_held(eye, x, y):
                return False
        elif hit is None:
            return False
        else:
            self.hands.grasp(self.name, hit.point_mm, self.radius_mm)
            self.scene.grasp(self.name, hit.point_mm, self.radius_mm)
            self.hit, self.position_mm = hit, hit.point_mm.copy()
        self._begin(eye, x, y, along)
        return True

    def drag(self, eye: Eye, x: float, y: float, along: bool = False) -> None:
        """Pull to a pixel; with `along`, moving up pushes away from the eye and down draws nearer."""
        if self._drag is None or self.position_mm is None:
            return
        if along != self._drag.along:
            self._begin(eye, x, y, along)
        drag, step = self._drag, eye.mm_per_pixel(self._drag.depth_mm)
        across, up = (x - drag.start_px[0]) * step, (drag.start_px[1] - y) * step
        way = up * eye.forward if along else across * eye.right + up * eye.up
        self._move(drag.start_mm + way)

    def notch(self, eye: Eye, steps: float) -> bool:
        """Push (positive) or draw what is held along the line of sight; False if nothing is held."""
        if self.position_mm is None:
            return False
        self._move(self.position_mm + steps * NOTCH_MM * eye.forward)
        if self._drag is not None:
            self._drag.start_mm = self._drag.start_mm + steps * NOTCH_MM * eye.forward
        return True

    def let_go_of_mouse(self) -> None:
        """End the drag; the jaws stay closed and hold."""
        self._drag = None

    def release(self) -> bool:
        """Open the jaws; False if they held nothing."""
        held = self.holds
        self.forget()
        if held:
            self.hands.release(self.name)
        return held

    def forget(self) -> None:
        """Take the tool out of the picture without telling the solver, as after a restart."""
        self._drag, self.position_mm, self.hit = None, None, None
        self.scene.release(self.name)

    def _begin(self, eye: Eye, x: float, y: float, along: bool) -> None:
        assert self.position_mm is not None
        self._drag = _Drag((x, y), self.position_mm.copy(), eye.depth_of(self.position_mm), along)

    def _move(self, position_mm: NDArray[np.float64]) -> None:
        self.position_mm = position_mm
        self.hands.move(self.name, position_mm)

    def _on_what_is_held(self, eye: Eye, x: float, y: float) -> bool:
        """Whether a pixel is within the grasp's radius (at least 18 pixels) of the jaws."""
        grasper = self.scene.graspers.get(self.name)
        if grasper is None:
            return False
        at = np.array(eye.pixel_of(grasper.tip_mm))
        reach = max(self.radius_mm / eye.mm_per_pixel(eye.depth_of(grasper.tip_mm)), 18.0)
        return bool(np.hypot(*(at - (x, y))) <= reach)
