"""Resect: a part of the organ is taken out along a surface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from solver.actions.act import Act, Vector, checked_duration, checked_name, checked_number, checked_vector
from solver.actions.stroke import Made, Stroke
from solver.cutting import Offset, Plane, Sheet, SplineSheet, Union, Values, pieces_within, wedges
from solver.errors import SolverError
from solver.organs import organ_tets, structure_at
from solver.topology import TopologyChange

if TYPE_CHECKING:
    from solver.body import Body
    from solver.field import OperativeField

Array = NDArray[np.float64]

# What each way to resect needs, and what it may have besides.
_NEEDS = {
    "plane": ("point_mm", "normal"),
    "spline": ("points_mm",),
    "margin": ("structure", "margin_mm"),
    "territory": ("system",),
}
_MAY = {
    "plane": ("structure",),
    "spline": ("structure",),
    "margin": ("point_mm",),
    "territory": ("node",),
}
LARGEST_MARGIN_MM = 100.0
# A piece with less than this share of its volume on one side of the surface belongs to the other side: what is snapped
# to the surface may lie a hair beyond it.
_STRAY = 0.02
# Rounds of averaging that make a surface of the steps in which a territory ends.
_SMOOTHING = 3


@dataclass(frozen=True)
class Resect(Act):
    """Take a part of the organ out.

    Physics: the tissue parts along a surface, where it lies when the act ends; the part beyond it is taken out as a
    specimen, with its attachments, and what stays comes to a new equilibrium with raw, free faces. How the parenchyma
    is divided (clamp crushing, ultrasonic aspirator) and the time and force that takes are not modelled. Pieces that
    nothing holds afterwards are specimens too. One organ is divided alone: where another touches it in the mesh, that
    one stays whole, and what joined them is parted.

    Parameters
    ----------
    by : {"plane", "spline", "margin", "territory"}
        The surface: a plane; a thin-plate spline through control points; a wedge around a structure, at a margin and
        opened to the nearest surface; the border of what a branch of a vessel system feeds or drains.
    point_mm : (float, float, float), optional
        Of the plane, LPS mm of the present shape. By margin: where a structure has several parts, such as tumours,
        the one nearest to this point is meant; without it all are, each in a wedge of its own.
    normal : (float, float, float), optional
        Of the plane, LPS; its length does not matter.
    points_mm : tuple of (float, float, float), optional
        Control points of the spline, LPS mm of the present shape, three at least.
    structure : str, optional
        By margin: around which the margin is kept, such as a tumour. By plane or spline: in the organ of which tissue
        is divided; by default that in which the points lie.
    margin_mm : float, optional
        Up to 100.
    system : str, optional
        Vessel system of the field; the territory is that of `node` and all beyond it.
    node : int, optional
        Node of the system's tree. Without it the territory is what is cut off by clamps and divisions now.
    keep_mm : (float, float, float), optional
        A point of the part that stays. By default the smaller part of a plane or spline goes, the inside of a margin,
        and the territory.
    duration_s : float
        Time it takes.

    Raises
    ------
    SolverError
        If a value is missing, superfluous or out of range. When it begins: if the surface misses the organ, or nothing
        would be left or hold what is left.
    """

    act: ClassVar[str] = "resect"
    by: str
    point_mm: Vector | None = None
    normal: Vector | None = None
    points_mm: tuple[Vector, ...] | None = None
    structure: str | None = None
    margin_mm: float | None = None
    system: str | None = None
    node: int | None = None
    keep_mm: Vector | None = None
    duration_s: float = 1.0

    def __post_init__(self) -> None:
        if self.by not in _NEEDS:
            raise SolverError(f"A resection by {self.by!r} is unknown; known are {', '.join(_NEEDS)}.")
        may = (*_NEEDS[self.by], *_MAY.get(self.by, ()))
        for name in dict.fromkeys(name for names in (*_NEEDS.values(), *_MAY.values()) for name in names):
            given = getattr(self, name) is not None
            if given and name not in may:
                raise SolverError(f"A resection by {self.by} has no '{name}'; it has {', '.join(may)}.")
            if not given and name in _NEEDS[self.by]:
                raise SolverError(f"A resection by {self.by} needs '{name}'.")
        for name in ("point_mm", "normal", "keep_mm"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, checked_vector(getattr(self, name), name))
        if self.normal == (0.0, 0.0, 0.0):
            raise SolverError("The normal of the plane is zero; give a direction such as [1, 0, 0].")
        if self.points_mm is not None:
            if not isinstance(self.points_mm, tuple) or len(self.points_mm) < 3:
                raise SolverError("A spline needs 'points_mm' with at least three points [x, y, z] in mm.")
            points = tuple(checked_vector(p, "A point of points_mm") for p in self.points_mm)
            object.__setattr__(self, "points_mm", points)
        for name in ("structure", "system"):
            if getattr(self, name) is not None:
                checked_name(getattr(self, name), name)
        if self.margin_mm is not None:
            margin = checked_number(self.margin_mm, "margin_mm", positive=True)
            if margin > LARGEST_MARGIN_MM:
                raise SolverError(f"margin_mm is {margin:g}; give at most {LARGEST_MARGIN_MM:g}.")
            object.__setattr__(self, "margin_mm", margin)
        if self.node is not None and (
            isinstance(self.node, bool) or not isinstance(self.node, int) or self.node < 0
        ):
            raise SolverError(f"node is {self.node!r}; give the number of a node, 0 or more.")
        object.__setattr__(self, "duration_s", checked_duration(self.duration_s))

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """See that the surface crosses the organ; the part goes when the act is done."""
        field.finish()
        body = field.live.body
        territory = self._membership(field) if self.by == "territory" else None
        structure = self._structure(body, field.live.positions)

        def sheet(positions: Array) -> Sheet | Values:
            return self.sheet(body, positions) if territory is None else Values(territory)

        def part(now: Body, positions: Array) -> NDArray[np.bool_]:
            if territory is not None:
                return np.asarray(field.tet_data[str(self.system)] >= 0)
            own = organ_tets(now.organ, structure)
            if self.by == "margin" and len(now.organ.tets_of(structure)) == own.sum():
                own[:] = True  # around a whole organ, the margin lies in its neighbours
            rows = np.flatnonzero(own)
            middle = positions[now.organ.tets[rows]].mean(axis=1)
            piece = now.components[now.organ.tets[:, 0]]
            return own & (piece == piece[rows[cKDTree(middle).query(self._near(now, positions))[1]]])

        def told(change: TopologyChange) -> None:
            area = change.cut_area_mm2
            field.tell("resection", f"The tissue was divided over {area / 100.0:.3g} cm².", area_mm2=area)

        return Stroke(field, sheet, told, self._taken, part).carry

    # ------------------------------------------------------------------ the surface

    def _structure(self, body: Body, positions: Array) -> str:
        """A structure of the organ that is divided."""
        if self.structure is not None:
            organ_tets(body.organ, self.structure)
            return self.structure
        points = self.points_mm if self.by == "spline" else (self.point_mm,)
        if self.by == "territory":
            return ""
        return structure_at(body.organ, positions, np.asarray(points))

    def _near(self, body: Body, positions: Array) -> Array:
        """A point of the piece that is divided, shape (3,)."""
        if self.by == "margin":
            return np.asarray(self._wedges(body, positions)[0].points_mm).mean(axis=0)
        points = (self.point_mm,) if self.by == "plane" else self.points_mm
        return np.asarray(np.asarray(points, dtype=np.float64).mean(axis=0))

    def _wedges(self, body: Body, positions: Array) -> list[Offset]:
        """The surface at a margin around each tumour that is meant."""
        return wedges(body.organ, positions, str(self.structure), float(self.margin_mm or 0.0), self.point_mm)

    def sheet(self, body: Body, positions: Array) -> Sheet:
        """The surface of a plane, spline or margin (φ < 0 inside), for positions (n, 3) of the vertices."""
        if self.by == "margin":
            return Union(tuple(self._wedges(body, positions)))
        if self.by == "plane":
            return Plane(np.asarray(self.point_mm), np.asarray(self.normal))
        return SplineSheet(np.asarray(self.points_mm))

    def _membership(self, field: OperativeField) -> Array:
        """How much each vertex belongs to the territory, −1 to 1, smoothed so that its border is a surface."""
        organ, inside = field.organ, self._territory(field)
        served = np.flatnonzero(field.tet_data[str(self.system)] >= 0)
        if not inside.any() or inside[served].all():
            part = "nothing of the organ" if not inside.any() else "all of the organ"
            raise SolverError(f"The territory in {self.system} holds {part}; choose another branch.")
        corners, volume = organ.tets[served], np.repeat(organ.tet_volumes[served], 4)
        vertices = np.unique(corners)
        around = np.bincount(corners.ravel(), volume, len(organ.points))
        around[around == 0.0] = 1.0
        of_tet = np.where(inside[served], 1.0, -1.0)
        for _ in range(_SMOOTHING):
            values = np.bincount(corners.ravel(), volume * np.repeat(of_tet, 4), len(organ.points)) / around
            of_tet = values[corners].mean(axis=1)
        # Averaging draws a round border inwards: the level is taken that holds the volume of the territory.
        falling = np.argsort(-of_tet, kind="stable")
        held = np.cumsum(organ.tet_volumes[served][falling])
        values = values - of_tet[falling[np.searchsorted(held, organ.tet_volumes[inside].sum())]]
        # In other organs it goes on as at the border, so that the surface ends there.
        return np.asarray(values[vertices[cKDTree(organ.points[vertices]).query(organ.points)[1]]])

    def _territory(self, field: OperativeField) -> NDArray[np.bool_]:
        """Which tetrahedra belong to the branch."""
        assert self.system is not None
        if self.system not in field.tet_data or self.system not in field.vessels:
            known = ", ".join(name for name in field.vessels if name in field.tet_data) or "none"
            raise SolverError(f"There are no territories of '{self.system}'; the field has those of {known}.")
        tree: Any = field.vessels[self.system]
        own = field.tet_data[self.system]
        if self.node is None:
            chosen = ~np.asarray(tree.flowing)
            if not chosen.any():
                raise SolverError(f"No branch of {self.system} is clamped or divided; name a 'node' of it.")
        else:
            if self.node >= len(tree.parent):
                raise SolverError(f"{self.system} has no node {self.node}; it has {len(tree.parent)}.")
            chosen = np.zeros(len(tree.parent), dtype=bool)
            chosen[self.node] = True
            for node, parent in enumerate(tree.parent):
                chosen[node] |= parent >= 0 and chosen[parent]
        return np.asarray((own >= 0) & chosen[np.maximum(own, 0)])

    # ------------------------------------------------------------------ which side goes

    def _taken(self, made: Made) -> NDArray[np.bool_]:
        """Tetrahedra after the cut that go."""
        after, beyond, mine = made.change.after, made.beyond > 0.0, made.within.chosen(made.change)
        volume, number = after.tet_volumes, pieces_within(after, mine)
        share = np.bincount(number, volume * beyond) / np.bincount(number, volume)
        # A piece that came apart is all on its side; one that did not is divided along the surface.
        apart = (share < _STRAY) | (share > 1.0 - _STRAY)
        above = np.where(apart[number], share[number] > 0.5, beyond)
        goes = mine & (above if self._goes_above(made, above, mine) else ~above)
        if not goes.any() or goes[mine].all():
            raise SolverError("The surface leaves nothing on one of its sides; move it into the organ.")
        return np.asarray(goes)

    def _goes_above(self, made: Made, above: NDArray[np.bool_], mine: NDArray[np.bool_]) -> bool:
        """Whether the part where φ is positive goes."""
        if self.keep_mm is not None:
            rows = np.flatnonzero(mine)
            return not above[rows[cKDTree(made.after[rows]).query(self.keep_mm)[1]]]
        if self.by in ("margin", "territory"):
            return self.by == "territory"
        volume = made.change.after.tet_volumes
        return float(volume[above & mine].sum()) <= float(volume[~above & mine].sum())
