"""Props: the instruments of an operation in the picture, and what was taken out, drawn aside.

Needles and applicators are steel shafts, an applicator with its active length in amber; clamps are bars across the
vessel; threads are dark blue; what an ablation has killed is a pale body in the translucent organ. A specimen keeps
its capsule, its vessels and its cut faces, and glides beside the organ, along whichever side of the picture is nearest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyvista as pv
from numpy.typing import NDArray

from viewer import theme
from viewer.drawing import Plotter, add_surface
from viewer.dressing import ClampOn, Dressing, Shaft, Zone
from viewer.skin import Skin

Array = NDArray[np.float64]

_THREAD = "#2b4a9b"
_DEAD = "#efe3cf"
_THREAD_RADIUS_MM = 0.7
#: Between the organ and a specimen, mm; and the time of the rehearsal in which it glides there, s.
_GAP_MM, _GLIDE_S = 14.0, 0.8


class Props:
    """Draws the instruments of a dressing, again only where they have changed.

    Parameters
    ----------
    plotter : pyvista.BasePlotter
    """

    def __init__(self, plotter: Plotter) -> None:
        self._plotter = plotter
        self._actors: list[pv.Actor] = []
        self._shown: Dressing | None = None

    def show(self, dressing: Dressing) -> None:
        """Draw the shafts, clamps, threads and zones of a dressing in place of what is there."""
        if dressing is self._shown:
            return
        self.clear()
        self._shown = dressing
        for shaft in dressing.shafts:
            for mesh, colour in _shaft(shaft):
                self._add(mesh, colour, specular=0.9, specular_power=45)
        for clamp in dressing.clamps:
            self._add(_clamp(clamp), theme.ACCENT, specular=0.7, specular_power=40, ambient=0.15)
        for places in dressing.threads:
            self._add(_thread(places), _THREAD, ambient=0.25, specular=0.4)
        for zone in dressing.zones:
            surface = _zone(zone)
            if surface.n_points:
                self._add(surface, _DEAD, opacity=0.55, ambient=0.2, culling="back")

    def clear(self) -> None:
        """Take everything away."""
        for actor in self._actors:
            self._plotter.remove_actor(actor, render=False, reset_camera=False)
        self._actors, self._shown = [], None

    def _add(self, mesh: pv.PolyData, colour: str, **look: Any) -> None:
        self._actors.append(add_surface(self._plotter, mesh, colour, **look))


def _shaft(shaft: Shaft) -> list[tuple[pv.PolyData, str]]:
    """A cylinder with a point; the active length of an applicator in the colour of what is held."""
    tip, way = shaft.tip_mm, shaft.towards_hand
    point = 3.0 * shaft.radius_mm
    cone = pv.Cone(
        center=tip + 0.5 * point * way, direction=-way, height=point, radius=shaft.radius_mm, resolution=28
    )
    parts = [(cone, theme.STEEL)]
    start = point
    if shaft.active_mm > point:
        parts = [(cone, theme.HELD)]
        parts.append((_rod(tip + point * way, tip + shaft.active_mm * way, shaft.radius_mm), theme.HELD))
        start = shaft.active_mm
    parts.append((_rod(tip + start * way, tip + shaft.length_mm * way, shaft.radius_mm), theme.STEEL))
    hub = tip + shaft.length_mm * way
    parts.append((_rod(hub, hub + 14.0 * way, 3.2), theme.MUTED))
    return parts


def _rod(start: Array, end: Array, radius_mm: float) -> pv.PolyData:
    length = float(np.linalg.norm(end - start))
    return pv.Cylinder(
        center=(start + end) / 2, direction=end - start, radius=radius_mm, height=length, resolution=28
    ).triangulate()


def _clamp(clamp: ClampOn) -> pv.PolyData:
    """Two bars across the vessel and the arm that leads to the front."""
    front = np.array([0.25, -0.85, -0.45])
    across = np.cross(clamp.along, front)
    across /= max(float(np.linalg.norm(across)), 1e-9)
    arm = np.cross(across, clamp.along)
    arm *= np.sign(arm @ front) or 1.0
    half = 0.5 * clamp.width_mm
    bars = [
        _rod(
            clamp.point_mm + side * across * half - arm * (half + 2.0),
            clamp.point_mm + side * across * half * 0.6 + arm * 26.0,
            1.3,
        )
        for side in (-1.0, 1.0)
    ]
    foot = clamp.point_mm + arm * 25.0
    return pv.merge([*bars, _rod(foot, foot + 10.0 * arm, 2.6)]).extract_surface(algorithm=None)


def _thread(places: Array) -> pv.PolyData:
    return pv.lines_from_points(places).tube(radius=_THREAD_RADIUS_MM, n_sides=12)


def _zone(zone: Zone) -> pv.PolyData:
    """Surface of the tissue whose damage integral has reached one."""
    grid = pv.ImageData(
        dimensions=zone.damage.shape, spacing=(zone.edge_mm,) * 3, origin=tuple(zone.origin_mm)
    )
    grid.point_data["damage"] = zone.damage.ravel(order="F")
    surface = grid.contour([1.0], scalars="damage")
    if not surface.n_points:
        return pv.PolyData()
    return surface.smooth_taubin(n_iter=20).compute_normals()


class SpecimenOnSide:
    """One specimen: its surfaces, and how far it is to glide, mm.

    Parameters
    ----------
    skins : sequence of Skin
        Tied to the specimen's mesh, whole surfaces and cut faces.
    displacement : ndarray, shape (n, 3)
        Of the specimen's vertices when it was taken out, mm.
    since_s : float
        When that was.
    """

    def __init__(self, skins: Sequence[Skin], displacement: Array, since_s: float) -> None:
        self.skins = [skin for skin in skins if len(skin.triangles)]
        self._displacement = np.ascontiguousarray(displacement, dtype=np.float32)
        self.since_s = since_s
        self.away_mm = np.zeros(3)
        self.move(since_s)

    def move(self, time_s: float) -> None:
        """Put it where it is at a time of the rehearsal."""
        share = float(np.clip((time_s - self.since_s) / _GLIDE_S, 0.0, 1.0))
        share = share * share * (3.0 - 2.0 * share)
        shifted = self._displacement + (share * self.away_mm).astype(np.float32)
        for skin in self.skins:
            skin.move(shifted)

    @property
    def points(self) -> Array:
        """Where its surfaces' points were when it was taken out, (k, 3), mm."""
        self.move(self.since_s)
        found = [skin.points.astype(np.float64) for skin in self.skins]
        return np.concatenate(found) if found else np.zeros((0, 3))


def beside(points: Array, others: Array, right: Array, up: Array) -> Array:
    """The shortest way along the picture's sides that brings points clear of others, shape (3,), mm.

    Parameters
    ----------
    points, others : ndarray, shape (k, 3), (l, 3)
    right, up : ndarray, shape (3,)
        Of the picture.
    """
    if not len(points) or not len(others):
        return np.zeros(3)
    ways = []
    for axis in (right, -right, up, -up):
        far = float((others @ axis).max() - (points @ axis).min()) + _GAP_MM
        ways.append((max(far, 0.0), axis))
    far, axis = min(ways, key=lambda way: way[0])
    return far * axis
