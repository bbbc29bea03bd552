"""Picking: where a ray from the eye meets the tissue.

Each shown surface gets a static cell locator, built when it is first asked and again only after the surface has
moved (4 ms for 50 000 triangles, under 0.1 ms a ray), so a picture that nobody points at costs nothing. The
nearest hit over the given surfaces wins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vtkmodules.vtkCommonCore import mutable
from vtkmodules.vtkCommonDataModel import vtkGenericCell, vtkStaticCellLocator

from viewer.skin import Skin


@dataclass(frozen=True)
class Hit:
    """Where a ray met a surface.

    Parameters
    ----------
    structure : str
        Structure that was hit.
    point_mm : ndarray, shape (3,)
        Where the surface is now, LPS mm.
    rest_mm : ndarray, shape (3,)
        The same piece of tissue in the scanned shape, LPS mm.
    normal : ndarray, shape (3,)
        Outward unit normal of the triangle that was hit.
    triangle : int
        Its index.
    """

    structure: str
    point_mm: NDArray[np.float64]
    rest_mm: NDArray[np.float64]
    normal: NDArray[np.float64]
    triangle: int


class Picker:
    """Rays against surfaces that move."""

    def __init__(self) -> None:
        self._locators: dict[str, tuple[int, vtkStaticCellLocator]] = {}

    def pick(
        self, skins: Iterable[Skin], origin_mm: NDArray[np.float64], end_mm: NDArray[np.float64]
    ) -> Hit | None:
        """Return the hit nearest to `origin_mm` on the way to `end_mm`, or None.

        Parameters
        ----------
        skins : iterable of Skin
            Surfaces that can be hit.
        origin_mm, end_mm : ndarray, shape (3,)
            Both ends of the ray, LPS mm.
        """
        best: tuple[float, Skin, int] | None = None
        for skin in skins:
            crossed = self._first_crossing(skin, origin_mm, end_mm)
            if crossed is not None and (best is None or crossed[0] < best[0]):
                best = (crossed[0], skin, crossed[1])
        if best is None:
            return None
        share, skin, triangle = best
        point = origin_mm + share * (end_mm - origin_mm)
        return _hit(skin, triangle, point)

    def _first_crossing(
        self, skin: Skin, origin: NDArray[np.float64], end: NDArray[np.float64]
    ) -> tuple[float, int] | None:
        # VTK fills references in place, which its annotations do not say.
        share: Any = mutable(0.0)
        cell: Any = mutable(-1)
        filled: Any = (share, [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], mutable(0), cell, vtkGenericCell())
        found = self._locator(skin).IntersectWithLine(list(origin), list(end), 1e-6, *filled)
        return (share.get(), cell.get()) if found else None

    def _locator(self, skin: Skin) -> vtkStaticCellLocator:
        version, locator = self._locators.get(skin.name, (-1, None))
        if locator is None or locator.GetDataSet() is not skin.mesh:
            locator = vtkStaticCellLocator()
            locator.SetDataSet(skin.mesh)
            version = -1
        if version != skin.version:
            locator.ForceBuildLocator()
            self._locators[skin.name] = (skin.version, locator)
        return locator


def _hit(skin: Skin, triangle: int, point: NDArray[np.float64]) -> Hit:
    a, b, c = skin.points[skin.triangles[triangle]].astype(np.float64)
    normal = np.cross(b - a, c - a)
    area = float(normal @ normal)
    weights = np.array(
        [
            np.cross(c - b, point - b) @ normal,
            np.cross(a - c, point - c) @ normal,
            np.cross(b - a, point - a) @ normal,
        ]
    )
    weights /= area
    return Hit(skin.name, point, skin.rest_of(triangle, weights), normal / np.sqrt(area), triangle)
