"""What acts that cut share: the cut as the tissue lies now, made once and made anew only where it has moved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from solver.cutting import Sheet, Values, cut
from solver.errors import SolverError
from solver.topology import TopologyChange

if TYPE_CHECKING:
    from solver.body import Body
    from solver.field import OperativeField

Array = NDArray[np.float64]

# Places on each piece of a path at which the surface is looked at.
_SAMPLES = 16


@dataclass(frozen=True, eq=False)
class Made:
    """A cut that was worked out.

    Parameters
    ----------
    positions : ndarray, shape (n, 3)
        Where the vertices were, mm.
    sheet : Sheet or Values
        The surface.
    change : TopologyChange
    """

    positions: Array
    sheet: Sheet | Values
    change: TopologyChange

    @property
    def after(self) -> Array:
        """Middle of each tetrahedron after the cut, where the tissue was, shape (m', 3)."""
        return np.asarray(self.change.interpolate(self.positions)[self.change.after.tets].mean(axis=1))

    @property
    def beyond(self) -> Array:
        """Signed distance φ of the middle of each tetrahedron after the cut from the surface, shape (m',)."""
        if isinstance(self.sheet, Values):
            level = np.asarray(self.sheet.values) - self.sheet.level
            return np.asarray(self.change.interpolate(level)[self.change.after.tets].mean(axis=1))
        return self.sheet.distance(self.after)


class Stroke:
    """A cut that is worked out when an act begins, and carried out, anew where the tissue has moved, when it ends.

    Parameters
    ----------
    field : OperativeField
    sheet : callable
        The surface, for positions (n, 3) of the vertices.
    taken : callable, optional
        Which tetrahedra after the cut go, shape (m',), bool; none by default.
    told : callable
        What to do when it has been carried out.

    Raises
    ------
    SolverError
        If the cut misses the organ or makes no sense.
    """

    def __init__(
        self,
        field: OperativeField,
        sheet: Callable[[Array], Sheet | Values],
        told: Callable[[TopologyChange], None],
        taken: Callable[[Made], NDArray[np.bool_]] | None = None,
    ) -> None:
        field.finish()
        self.field, self._sheet, self._told, self._taken = field, sheet, told, taken
        self._made = self._make(field.live.body, field.live.positions)
        if taken is not None:
            taken(self._made)

    def _make(self, body: Body, positions: Array) -> Made:
        sheet = self._sheet(positions)
        change = cut(body.organ, positions, sheet, self.field.floor_mm, (body.reference_points,))
        return Made(positions, sheet, change)

    def carry(self, share: float) -> None:
        """Bring the act to a share of its course: at its end the tissue parts."""
        if share < 1.0:
            return
        self.field.finish()
        body, positions = self.field.live.body, self.field.live.positions
        made = self._made

        def making() -> tuple[TopologyChange, NDArray[np.bool_] | None]:
            still = body.organ is made.change.before and np.array_equal(positions, made.positions)
            now = made if still else self._make(body, positions)
            return now.change, None if self._taken is None else self._taken(now)

        self.field.cut(making, self._told)


class Within:
    """A surface that cuts one connected piece of a body alone.

    Parameters
    ----------
    sheet : Sheet
    components : ndarray, shape (n,), int64
        Piece of each vertex.
    positions : ndarray, shape (n, 3)
        Where they are, mm.
    near_mm : ndarray, shape (3,)
        A point; the piece that lies nearest to it is cut.
    """

    def __init__(self, sheet: Sheet, components: NDArray[np.int64], positions: Array, near_mm: Array) -> None:
        self.sheet = sheet
        self._of, self._tree = components, cKDTree(positions)
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


def inward(exterior: NDArray[np.int64], positions: Array, path: Array) -> Array:
    """Mean direction into the tissue along a path (k, 3) on its outer surface (facets, positions), shape (3,).

    Raises
    ------
    SolverError
        If the surface there faces every way.
    """
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
