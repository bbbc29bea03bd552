"""What acts that cut share: the cut as the tissue lies now, made once and made anew only where it has moved."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from solver.cutting import Sheet, Values, cut
from solver.errors import SolverError
from solver.topology import TopologyChange

if TYPE_CHECKING:
    from solver.field import OperativeField

Array = NDArray[np.float64]

# Places on each piece of a path at which the surface is looked at.
_SAMPLES = 16


class Stroke:
    """A cut that is asked for when an act begins, and carried out when it ends.

    Parameters
    ----------
    field : OperativeField
    sheet : callable
        The surface, for the field as it is when it is called.

    Raises
    ------
    SolverError
        If the cut misses the organ or makes no sense.
    """

    def __init__(self, field: OperativeField, sheet: Callable[[], Sheet | Values]) -> None:
        field.finish()
        self.field, self._sheet = field, sheet
        self._cut()

    def _cut(self) -> None:
        live = self.field.live
        self._at = live.positions
        self.sheet = self._sheet()
        self.change: TopologyChange = cut(
            live.body.organ, self._at, self.sheet, self.field.floor_mm, (live.body.reference_points,)
        )

    def now(self) -> TopologyChange:
        """The change, for where the tissue is now."""
        self.field.finish()
        live = self.field.live
        if live.body.organ is not self.change.before or not np.array_equal(live.positions, self._at):
            self._cut()
        return self.change

    def beyond(self) -> NDArray[np.float64]:
        """Signed distance φ from the surface of the middle of each tetrahedron after the cut, shape (m',)."""
        change = self.change
        if isinstance(self.sheet, Values):
            level = np.asarray(self.sheet.values) - self.sheet.level
            return np.asarray(change.interpolate(level)[change.after.tets].mean(axis=1))
        return self.sheet.distance(change.interpolate(self._at)[change.after.tets].mean(axis=1))


class Within:
    """A surface that cuts one connected piece of a body alone.

    Parameters
    ----------
    sheet : Sheet
    field : OperativeField
    near_mm : ndarray, shape (3,)
        A point; the piece that lies nearest to it is cut.
    """

    def __init__(self, sheet: Sheet, field: OperativeField, near_mm: Array) -> None:
        self.sheet = sheet
        self._of, self._tree = field.live.body.components, cKDTree(field.live.positions)
        self._piece = self._of[self._tree.query(near_mm)[1]]

    def distance(self, points: Array) -> Array:
        """Signed distance φ, mm."""
        return self.sheet.distance(points)

    def extent(self, points: Array) -> Array:
        """Distance ψ from the swept part, mm; above 0 in every other piece."""
        other = self._of[self._tree.query(points)[1]] != self._piece
        return np.where(other, 1.0, self.sheet.extent(points))

    def chosen(self, change: TopologyChange) -> NDArray[np.bool_]:
        """Which tetrahedra after a change are of the piece that is cut, shape (m',)."""
        return np.asarray((self._of[change.before.tets[:, 0]] == self._piece)[change.tet_parent])


def inward(field: OperativeField, path: Array) -> Array:
    """Mean direction into the tissue along a path (k, 3) on its present surface, shape (3,).

    Raises
    ------
    SolverError
        If the surface there faces every way.
    """
    exterior, positions = field.organ.exterior, field.live.positions
    a, b, c = positions[exterior].transpose(1, 0, 2)
    along = np.linspace(0.0, 1.0, _SAMPLES)
    points = np.concatenate([p + along[:, None] * (q - p) for p, q in pairwise(path)])
    nearest = cKDTree((a + b + c) / 3).query(points)[1]
    cross = np.cross(b - a, c - a)[nearest]
    mean = -(cross / np.linalg.norm(cross, axis=1)[:, None]).mean(axis=0)
    if np.linalg.norm(mean) < 0.1:
        raise SolverError(
            "The surface under the path faces every way; say in which direction the blade goes."
        )
    return np.asarray(mean / np.linalg.norm(mean))
