"""Where the eye is: named views of a patient, fitted to what is shown, and rays through a pixel.

Directions are the patient's: a view is named by where the eye stands. `surgeon` is the laparoscope's view, from
the belly's skin below the ribs, up and back towards the liver.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyvista as pv
from numpy.typing import NDArray

VIEW_ANGLE_DEG = 28.0
# Share of the picture's half height or half width that the shown points may fill.
_FILL = 0.74

# Direction from the shown thing to the eye, and which way is up, LPS.
VIEWS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "surgeon": ((0.10, -0.88, -0.46), (0.0, 0.0, 1.0)),
    "anterior": ((0.0, -1.0, 0.0), (0.0, 0.0, 1.0)),
    "posterior": ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "left": ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
    "right": ((-1.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
    "superior": ((0.0, 0.0, 1.0), (0.0, -1.0, 0.0)),
    "inferior": ((0.0, 0.0, -1.0), (0.0, -1.0, 0.0)),
}


@dataclass(frozen=True)
class View:
    """An eye outside a cloud of points.

    Parameters
    ----------
    points : ndarray, shape (k, 3)
        What must be in the picture, LPS mm.
    towards_eye, up : ndarray, shape (3,)
        Orthogonal unit vectors.
    """

    points: NDArray[np.floating]
    towards_eye: NDArray[np.float64]
    up: NDArray[np.float64]

    def apply(self, camera: pv.Camera, size: tuple[int, int]) -> None:
        """Place a camera so that all points fit a window of `size` (width, height) pixels."""
        right = np.cross(self.up, self.towards_eye)
        frame = np.stack([right, self.up, self.towards_eye])
        local = self.points @ frame.T
        low, high = local.min(axis=0), local.max(axis=0)
        centre = (low + high) / 2
        half_height = np.tan(np.radians(VIEW_ANGLE_DEG) / 2) * _FILL
        half_width = half_height * size[0] / max(size[1], 1)
        reach = np.abs(local - centre)
        distance = float(
            (np.maximum(reach[:, 0] / half_width, reach[:, 1] / half_height) + local[:, 2] - centre[2]).max()
        )
        focus = centre @ frame
        camera.view_angle = VIEW_ANGLE_DEG
        camera.focal_point = tuple(focus)
        camera.position = tuple(focus + distance * self.towards_eye)
        camera.up = tuple(self.up)


def view_of(name: str, points: NDArray[np.floating]) -> View:
    """Return a named view of some points (k, 3) in LPS mm; a KeyError for a name not in `VIEWS`."""
    towards, up = (np.asarray(vector, dtype=np.float64) for vector in VIEWS[name])
    towards = towards / np.linalg.norm(towards)
    up = up - (up @ towards) * towards
    return View(points, towards, up / np.linalg.norm(up))


@dataclass(frozen=True)
class Eye:
    """A camera at one moment, as plain numbers, for turning pixels into rays and back.

    Parameters
    ----------
    position, right, up, forward : ndarray, shape (3,)
        Where the eye is (LPS mm) and its unit axes.
    size : tuple of int
        Width and height of the window in pixels.
    view_angle_deg : float
        Vertical angle of view.
    """

    position: NDArray[np.float64]
    right: NDArray[np.float64]
    up: NDArray[np.float64]
    forward: NDArray[np.float64]
    size: tuple[int, int]
    view_angle_deg: float

    @classmethod
    def of(cls, camera: pv.Camera, size: tuple[int, int]) -> Eye:
        """Read a perspective camera drawing in a window of `size` (width, height) pixels."""
        position, focus, up = (
            np.asarray(v, dtype=np.float64) for v in (camera.position, camera.focal_point, camera.up)
        )
        forward = focus - position
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, up)
        right /= np.linalg.norm(right)
        return cls(position, right, np.cross(right, forward), forward, size, float(camera.view_angle))

    def mm_per_pixel(self, depth_mm: float) -> float:
        """Millimetres that one pixel spans at a depth along the view direction."""
        return float(2 * depth_mm * np.tan(np.radians(self.view_angle_deg) / 2) / self.size[1])

    def depth_of(self, point_mm: NDArray[np.float64]) -> float:
        """Depth (mm) of a point along the view direction."""
        return float((point_mm - self.position) @ self.forward)

    def ray(
        self, x: float, y: float, length_mm: float = 1e4
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Both ends (3,) of the ray through a pixel, `x` from the left and `y` from the top, LPS mm."""
        step = self.mm_per_pixel(1.0)
        across = (x + 0.5 - self.size[0] / 2) * step
        above = (self.size[1] / 2 - y - 0.5) * step
        direction = self.forward + across * self.right + above * self.up
        return self.position, self.position + length_mm * direction / np.linalg.norm(direction)

    def pixel_of(self, point_mm: NDArray[np.float64]) -> tuple[float, float]:
        """Pixel (from the left, from the top) at which a point in front of the eye is drawn."""
        local = np.asarray(point_mm, dtype=np.float64) - self.position
        step = self.mm_per_pixel(float(local @ self.forward))
        x = self.size[0] / 2 - 0.5 + local @ self.right / step
        y = self.size[1] / 2 - 0.5 - local @ self.up / step
        return float(x), float(y)
