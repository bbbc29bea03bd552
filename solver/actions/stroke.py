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
    within : Within
        The surface, and the part of the body it cuts.
    change : TopologyChange
    """

    positions: Array
    within: Within
    change: TopologyChange

    @property
    def after(self) -> Array:
        """Middle of each tetrahedron after the cut, where the tissue was, shape (m', 3)."""
        return np.asarray(self.change.interpolate(self.positions)[self.change.after.tets].mean(axis=1))

    @property
    def beyond(self) -> Array:
        """Signed distance φ of the middle of each tetrahedron after the cut from the surface, shape (m',)."""
        sheet = self.within.sheet
        if isinstance(sheet, Values):
            level = np.asarray(sheet.values) - sheet.level
            return np.asarray(self.change.interpolate(level)[self.change.after.tets].mean(axis=1))
        return sheet.distance(self.after)


class Stroke:
    """A cut that is worked out when an act begins, and carried out, anew where the tissue has moved, when it ends.

    Parameters
    ----------
    field : OperativeField
    sheet : callable
        The surface, for positions (n, 3) of the vertices.
    part : callable
        Tetrahedra that it may cut, shape (m,), bool, for the body and the positions of its vertices; all by default.
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
        part: Callable[[Body, Array], NDArray[np.bool_]] | None = None,
    ) -> None:
        field.finish()
        self.field, self._sheet, self._told, self._taken = field, sheet, told, taken
        self._part = part
        self._made = self._make(field.live.body, field.live.positions)
        if taken is not None:
            taken(self._made)

    def _make(self, body: Body, positions: Array) -> Made:
        organ = body.organ
        part = np.ones(len(organ.tets), dtype=bool) if self._part is None else self._part(body, positions)
        within = Within(self._sheet(positions), part, positions[organ.tets])
        whole = bool(part.all())
        change = cut(
            organ, positions, within.sheet if whole else within.surface, self.field.floor_mm,
            (body.reference_points,), None if whole else part,
        )  # fmt: skip
        return Made(positions, within, change)

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


@dataclass(frozen=True, eq=False)
class Within:
    """A surface that cuts a part of a body alone, such as one organ among several.

    Parameters
    ----------
    sheet : Sheet or Values
    tets : ndarray, shape (m,), bool
        Tetrahedra of the part.
    corners : ndarray, shape (m, 4, 3)
        Where the corners of all tetrahedra are, mm.
    """

    sheet: Sheet | Values
    tets: NDArray[np.bool_]
    corners: Array

    @property
    def surface(self) -> Sheet | Values:
        """The surface, ended where its part ends, about an edge beyond it."""
        return self.sheet if isinstance(self.sheet, Values) else _Near(self.sheet, self.corners[self.tets])

    def chosen(self, change: TopologyChange) -> NDArray[np.bool_]:
        """Which tetrahedra after a change are of the part, shape (m',)."""
        return np.asarray(self.tets[change.tet_parent])


class _Near:
    """A surface that ends an edge beyond some tetrahedra (k, 4, 3), so that what is far from them is left as it is."""

    def __init__(self, sheet: Sheet, corners: Array) -> None:
        self.sheet = sheet
        self._tree = cKDTree(corners.reshape(-1, 3))
        self._reach = float(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max())

    def distance(self, points: Array) -> Array:
        """Signed distance φ, mm."""
        return self.sheet.distance(points)

    def extent(self, points: Array) -> Array:
        """Distance ψ from the swept part, mm; above 0 beyond the end."""
        away = self._tree.query(points.reshape(-1, 3))[0] - self._reach
        return np.where(away > 0.0, away, self.sheet.extent(points))


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
