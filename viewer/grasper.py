"""Grasper: the instrument in the picture, the tissue in its jaws, and the force it pulls with.

The instrument turns about a port in the belly's wall, as a laparoscopic one does, and its jaws follow the tissue
they hold. The held patch is drawn again, opaque and in the colour of what is held, from the present positions of
the surface vertices within the grasp's radius. An arrow of a fixed length a newton shows the pull, with its value.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyvista as pv
from numpy.typing import NDArray

from viewer import drawing, theme
from viewer.drawing import Plotter, add_surface, shared_mesh
from viewer.overlays import text_actor
from viewer.skin import Skin, vertex_normals

# The port lies in front of and below the tissue: direction (LPS) and distance from the tip, mm.
_PORT_DIRECTION = np.array([0.80, -0.46, -0.40])
_PORT_MM = 320.0
_ARROW_MM_PER_N = 9.0
_ARROW_LONGEST_MM = 90.0
# Forces below this are drawn without an arrow, N.
_ARROW_LEAST_N = 0.05
# The patch is lifted off the surface it copies so that the two do not flicker, mm.
_LIFT_MM = 0.35


class Grasper:
    """A tool closed on the tissue.

    Parameters
    ----------
    name : str
        Tool name, as in the action log.
    skins : sequence of Skin
        Surfaces it can hold.
    point_mm : ndarray, shape (3,)
        Where the jaws closed, LPS mm, present shape.
    radius_mm : float
        How far around the point tissue is held.
    """

    def __init__(
        self, name: str, skins: Sequence[Skin], point_mm: NDArray[np.float64], radius_mm: float
    ) -> None:
        self.name = name
        self.force_N = 0.0
        self.tip_mm = point_mm.copy()
        self._start = point_mm.copy()
        self._patches = [patch for skin in skins if (patch := _Patch.around(skin, point_mm, radius_mm))]
        towards = _PORT_DIRECTION / np.linalg.norm(_PORT_DIRECTION)
        self._port = point_mm + _PORT_MM * towards
        self._actors: list[pv.Actor] = []
        self._label = text_actor(16, theme.HELD, bold=True)
        self._label.GetPositionCoordinate().SetCoordinateSystemToWorld()
        self._arrow: pv.Actor | None = None
        self._tool: pv.Actor | None = None
        self.follow(None)

    @property
    def held(self) -> int:
        """Surface vertices in the jaws."""
        return sum(len(patch.vertices) for patch in self._patches)

    def attach(self, plotter: Plotter) -> None:
        """Draw on a plotter."""
        for patch in self._patches:
            self._actors.append(add_surface(plotter, patch.mesh, theme.HELD, ambient=0.15, diffuse=0.85))
        self._tool = add_surface(plotter, _instrument(), theme.STEEL, specular=0.9, specular_power=45)
        self._arrow = add_surface(plotter, _unit_arrow(), theme.HELD, ambient=0.25)
        self._actors += [self._tool, self._arrow]
        plotter.renderer.AddViewProp(self._label)
        self._sizer = plotter.renderer.AddObserver("StartEvent", lambda *_: self._size_label(plotter))
        self.follow(None)

    def detach(self, plotter: Plotter) -> None:
        """Take away everything that was drawn."""
        for actor in self._actors:
            plotter.remove_actor(actor, render=False, reset_camera=False)
        plotter.renderer.RemoveViewProp(self._label)
        plotter.renderer.RemoveObserver(self._sizer)
        self._actors = []
        self._arrow = self._tool = None

    def follow(self, force_N: NDArray[np.float64] | None) -> None:
        """Go where the held tissue has gone; `force_N` (3,) is the pull on it in newtons, LPS."""
        moved = np.zeros(3)
        for patch in self._patches:
            moved += patch.follow() * len(patch.vertices) / max(self.held, 1)
        self.tip_mm = self._start + moved
        if self._tool is not None:
            self._tool.user_matrix = _placed(self.tip_mm, self._port - self.tip_mm, 1.0)
        if force_N is not None or self._arrow is not None:
            self._show_force(np.zeros(3) if force_N is None else np.asarray(force_N, dtype=np.float64))

    def _size_label(self, plotter: Plotter) -> None:
        self._label.GetTextProperty().SetFontSize(max(11, round(17 * plotter.renderer.GetSize()[1] / 768)))

    def _show_force(self, force: NDArray[np.float64]) -> None:
        self.force_N = float(np.linalg.norm(force))
        felt = self.force_N >= _ARROW_LEAST_N
        self._label.SetVisibility(felt)
        if self._arrow is None:
            return
        self._arrow.SetVisibility(felt)
        if not felt:
            return
        length = min(self.force_N * _ARROW_MM_PER_N, _ARROW_LONGEST_MM)
        self._arrow.user_matrix = _placed(self.tip_mm, force, length)
        beside = self.tip_mm + force / self.force_N * 0.6 * length
        self._label.GetPositionCoordinate().SetValue(*beside)
        self._label.SetInput(f"   {self.force_N:.2f} N")


class _Patch:
    """The part of one surface that is held."""

    def __init__(self, skin: Skin, vertices: NDArray[np.int64], triangles: NDArray[np.int64]) -> None:
        self.vertices = vertices
        self._skin = skin
        self._triangles = triangles
        self._first = skin.points[vertices].astype(np.float64)
        self._points = skin.points[vertices]
        self._normals = np.empty_like(self._points)
        self.mesh = shared_mesh(self._points, triangles)

    @classmethod
    def around(cls, skin: Skin, point_mm: NDArray[np.float64], radius_mm: float) -> _Patch | None:
        """Return the triangles whose vertices all lie within the radius, or None when there is none."""
        near = np.linalg.norm(skin.points - point_mm.astype(np.float32), axis=1) <= radius_mm
        rows = skin.triangles[near[skin.triangles].all(axis=1)]
        if not len(rows):
            return None
        vertices, local = np.unique(rows, return_inverse=True)
        return cls(skin, vertices, np.ascontiguousarray(local.reshape(-1, 3)))

    def follow(self) -> NDArray[np.float64]:
        """Copy the surface's present positions; return how far the patch has moved on average, (3,) mm."""
        np.take(self._skin.points, self.vertices, axis=0, out=self._points)
        moved = self._points.mean(axis=0, dtype=np.float64) - self._first.mean(axis=0)
        vertex_normals(self._points, self._triangles, self._normals)
        self._points += _LIFT_MM * self._normals
        drawing.moved(self.mesh)
        return moved


def _instrument() -> pv.PolyData:
    """A 5 mm grasper along +z with the tip of its closed jaws at the origin, mm."""
    shaft = pv.Cylinder(center=(0, 0, 180), direction=(0, 0, 1), radius=2.5, height=320, resolution=28)
    collar = pv.Cylinder(center=(0, 0, 20), direction=(0, 0, 1), radius=2.9, height=4, resolution=28)
    jaws = [pv.ParametricEllipsoid(1.5, 2.4, 11).translate((side * 1.15, 0, 9)) for side in (-1, 1)]
    return pv.merge([shaft.triangulate(), collar.triangulate(), *jaws]).extract_surface(algorithm=None)


def _unit_arrow() -> pv.PolyData:
    """An arrow of length 1 along +z whose thickness suits lengths of some tens of millimetres."""
    return pv.Arrow(
        direction=(0, 0, 1), tip_length=0.3, tip_radius=0.11, shaft_radius=0.04, tip_resolution=28
    )


def _placed(origin: NDArray[np.float64], direction: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Return the 4x4 matrix that takes +z to a direction, the origin to `origin`, and scales."""
    z = direction / max(float(np.linalg.norm(direction)), 1e-12)
    helper = np.array([1.0, 0.0, 0.0]) if abs(z[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    x = np.cross(helper, z)
    x /= np.linalg.norm(x)
    matrix = np.eye(4)
    matrix[:3, :3] = scale * np.stack([x, np.cross(z, x), z], axis=1)
    matrix[:3, 3] = origin
    return matrix
