"""Resect: a part of the organ is taken out along a surface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from solver.actions.act import Act, Vector, checked_name, checked_number, checked_vector
from solver.actions.stroke import Made, Stroke, Within
from solver.cutting import Offset, Plane, Sheet, SplineSheet, Values, pieces
from solver.errors import SolverError
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
_MAY = {"territory": ("node",)}
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
    nothing holds afterwards are specimens too.

    Parameters
    ----------
    by : {"plane", "spline", "margin", "territory"}
        The surface: a plane; a thin-plate spline through control points; a wedge around a structure, at a margin and
        opened to the nearest surface; the border of what a branch of a vessel system feeds or drains.
    point_mm, normal : (float, float, float)
        Of the plane, LPS millimetres.
    points_mm : tuple of (float, float, float)
        Control points of the spline, three at least.
    structure : str
        Around which a margin is kept, such as a tumour.
    margin_mm : float
        Up to 100.
    system : str
        Vessel system of the field; the territory is that of `node` and all beyond it.
    node : int, optional
        Without it the territory is what is cut off by clamps and divisions now.
    keep_mm : (float, float, float), optional
        A point of the part that stays. By default the smaller part of a plane or spline goes, the inside of a margin,
        and the territory.
    duration_s : float

    Raises
    ------
    SolverError
        If a value is missing, superfluous or out of range.
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
        for name in [name for names in (*_NEEDS.values(), *_MAY.values()) for name in names]:
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
        object.__setattr__(self, "duration_s", checked_number(self.duration_s, "duration_s"))

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """See that the surface crosses the organ; the part goes when the act is done."""
        field.finish()
        body = field.live.body
        territory = self._membership(field) if self.by == "territory" else None

        def sheet(positions: Array) -> Sheet | Values:
            return self.sheet(body, positions) if territory is None else Values(territory)

        def told(change: TopologyChange) -> None:
            area = change.cut_area_mm2
            field.tell("resection", f"The tissue was divided over {area / 100.0:.3g} cm².", area_mm2=area)

        return Stroke(field, sheet, told, self._taken).carry

    # ------------------------------------------------------------------ the surface

    def sheet(self, body: Body, positions: Array) -> Sheet:
        """The surface of a plane, spline or margin (φ < 0 inside), for positions (n, 3) of the vertices."""
        if self.by == "margin":
            structure, margin = str(self.structure), float(self.margin_mm or 0.0)
            around = Offset.around(body.organ, positions, structure, margin, opened=True)
            surface: Sheet = around
            near = np.asarray(around.points_mm).mean(axis=0)
        elif self.by == "plane":
            near = np.asarray(self.point_mm)
            surface = Plane(near, np.asarray(self.normal))
        else:
            points = np.asarray(self.points_mm)
            surface, near = SplineSheet(points), points.mean(axis=0)
        # Where the mesh has several organs, the surface is kept to the one it is meant for.
        return Within(surface, body.components, positions, near) if body.components.any() else surface

    def _membership(self, field: OperativeField) -> Array:
        """How much each vertex belongs to the territory, −1 to 1, smoothed so that its border is a surface."""
        organ, inside = field.organ, self._territory(field)
        if not inside.any() or inside.all():
            part = "all of the organ" if inside.all() else "nothing of the organ"
            raise SolverError(f"The territory in {self.system} holds {part}; choose another branch.")
        corners, volume = organ.tets.ravel(), np.repeat(organ.tet_volumes, 4)
        around = np.bincount(corners, volume)
        of_tet = np.where(inside, 1.0, -1.0)
        for _ in range(_SMOOTHING):
            values = np.bincount(corners, volume * np.repeat(of_tet, 4)) / around
            of_tet = values[organ.tets].mean(axis=1)
        return np.asarray(values)

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
        after, beyond = made.change.after, made.beyond > 0.0
        volume, number = after.tet_volumes, pieces(after)
        mine = np.ones(len(volume), dtype=bool)
        if isinstance(made.sheet, Within):
            mine = made.sheet.chosen(made.change)
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
