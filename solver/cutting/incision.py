"""Cutting tissue along a sheet: from one conforming mesh to the next.

The sheet lies in the deformed organ; the mesh is cut in the scanned shape and every other shape alike, because all new
vertices lie at the same share of the same edge everywhere. The steps are those of `solver.cutting.snapping` (which
edges are cut, and where), `solver.cutting.split` (their bisection) and `solver.cutting.opening` (the facets on the
sheet come apart). Volume is kept exactly: nothing is removed, and no vertex of an outer surface or an interface moves.
A cut right through must part the tissue: where a bridge of facets would be left, which happens in tissue that was cut
many times, it is tried again a little aside, and the cut with the fewest is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anatomy.lattice.topology import neighbours_of, volumes_of
from anatomy.mesh import FACETS_OF_TET, OrganMesh
from solver.cutting.opening import Opened, open_facets
from solver.cutting.pieces import area_mm2
from solver.cutting.sheet import Sheet, positive
from solver.cutting.smooth import Values
from solver.cutting.snapping import Marks, Mesh, levels, mark
from solver.cutting.split import split_well
from solver.errors import SolverError
from solver.topology import TopologyChange

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Shortest part an edge is cut to, as a share of the mean edge, where no floor is given.
FLOOR = 0.2
#: Smallest piece that is cut loose, as a share of the cube of the mean edge: some four regular tetrahedra.
CRUMB = 0.5
# Where a cut right through would leave a bridge, it is tried again this share of the mean edge aside.
_SHIFTS = (0.0, 0.07, -0.07, 0.15, -0.15)


def cut(
    organ: OrganMesh,
    positions: Array,
    sheet: Sheet | Values,
    floor_mm: float | None = None,
    shapes: Sequence[Array] = (),
    only: NDArray[np.bool_] | None = None,
) -> TopologyChange:
    """Cut an organ along a sheet.

    Parameters
    ----------
    organ : OrganMesh
        In the scanned shape.
    positions : ndarray, shape (n, 3)
        Where its vertices are now, mm: the shape in which the sheet lies.
    sheet : Sheet or Values
    floor_mm : float, optional
        No edge is cut to parts shorter than this, in the scanned shape; `FLOOR` of the mean edge if None. Give the
        same for all cuts of an organ.
    shapes : sequence of ndarray, shape (n, 3)
        Further shapes of the same vertices in which every tetrahedron must stay positive, such as the stress-free.
    only : ndarray of bool, shape (m,), optional
        Tetrahedra that may be parted from each other; the tissue around them stays whole.

    Returns
    -------
    TopologyChange
        The vertices of `organ` come first and keep their numbers, then those on cut edges, then copies. `raw` are the
        faces of the cut, both sides.

    Raises
    ------
    SolverError
        If a shape is not finite or of another organ, the sheet misses the organ, or it is too small to open a facet.
    """
    for shape in (positions, *shapes):
        _check_shape(organ, shape)
    mesh = Mesh.of(organ)
    floor = FLOOR * float(mesh.length.mean()) if floor_mm is None else positive("The floor", floor_mm)
    deformed = np.ascontiguousarray(positions, dtype=np.float64)
    every = [deformed, *(np.ascontiguousarray(shape, dtype=np.float64) for shape in shapes)]
    crumb = CRUMB * (floor / FLOOR) ** 3
    best: _Attempt | None = None
    for shift in _SHIFTS:
        moved = _shifted(sheet, shift, mesh)
        try:
            marks = mark(mesh, every, moved, floor)
        except SolverError:
            if best is None:
                raise
            continue
        attempt = _attempt(mesh, deformed, moved, marks, split_well(mesh, marks, every, floor), crumb, only)
        if best is None or attempt.bridges < best.bridges:
            best = attempt
        if not best.bridges:
            break
    assert best is not None
    return _change(organ, mesh, best)


@dataclass(frozen=True)
class _Attempt:
    """An organ cut along a sheet, not yet put together.

    `parents`, `weight` and `tet_parent` are those of `TopologyChange` before copies are made; `bridges` are facets that
    still join the sides of a cut right through.
    """

    parents: Ints
    weight: Array
    tet_parent: Ints
    opened: Opened
    bridges: int


def _shifted(sheet: Sheet | Values, share: float, mesh: Mesh) -> Sheet | Values:
    """A sheet moved a share of the mean edge along its normal."""
    if not share:
        return sheet
    if isinstance(sheet, Values):
        values = np.asarray(sheet.values)
        rise = float(np.abs(values[mesh.edges[:, 0]] - values[mesh.edges[:, 1]]).mean())
        return Values(values, sheet.level + share * rise)
    return _Shifted(sheet, share * float(mesh.length.mean()))


@dataclass(frozen=True)
class _Shifted:
    """A sheet a little to the side of another."""

    sheet: Sheet
    shift_mm: float

    def distance(self, points: Array) -> Array:
        return self.sheet.distance(points) - self.shift_mm

    def extent(self, points: Array) -> Array:
        return self.sheet.extent(points)


def _check_shape(organ: OrganMesh, shape: Array) -> None:
    if np.shape(shape) != organ.points.shape:
        raise SolverError(f"Positions have shape {np.shape(shape)}; the organ has {organ.points.shape}.")
    if not np.isfinite(shape).all():
        raise SolverError(
            "The positions hold values that are not finite; restore an earlier state and cut again."
        )
    flat = int((volumes_of(np.ascontiguousarray(shape, dtype=np.float64), organ.tets) <= 0).sum())
    if flat:
        raise SolverError(
            f"{flat} tetrahedra are flat or inverted where the organ lies now; let it come to rest, then cut."
        )


def _attempt(
    mesh: Mesh,
    positions: Array,
    sheet: Sheet | Values,
    marks: Marks,
    pieces: tuple[Ints, Ints],
    crumb_mm3: float,
    only: NDArray[np.bool_] | None = None,
) -> _Attempt:
    """Open the facets on the sheet, only between some tetrahedra if they are given."""
    organ = mesh.organ
    tets, parent = pieces
    own = np.arange(len(organ.points))
    parents = np.concatenate([np.stack([own, marks.towards], axis=1), mesh.edges[marks.cut]])
    weight = np.concatenate([marks.share, marks.at])
    now = _between(positions, parents, weight)
    on_cuts = np.zeros(len(marks.cut), dtype=np.int8)
    side = _sides(tets, np.r_[marks.side, on_cuts], sheet, now, marks)
    across = neighbours_of(tets)
    opposite = (across >= 0) & (side[:, None] * side[np.maximum(across, 0)] < 0)
    may = np.ones(len(tets), dtype=bool) if only is None else only[parent]
    opposite &= may[:, None] & may[np.maximum(across, 0)]
    tet, facet = np.nonzero(opposite)
    corners = tets[tet[:, None], FACETS_OF_TET[facet]]
    whole = np.r_[marks.side == 0, on_cuts == 0][corners].all(axis=1)
    if not isinstance(sheet, Values):
        # From both sides in one order, so that rounding cannot open a facet from one side only.
        whole[whole] = sheet.extent(now[np.sort(corners[whole], axis=1)].mean(axis=1)) < 0.0
    opposite[tet[~whole], facet[~whole]] = False
    volumes = volumes_of(_between(organ.points, parents, weight), tets)
    settled = _settled(tets, across, opposite, side, sheet, now) | ~may
    opened = open_facets(tets, across, opposite, len(parents), None, volumes, crumb_mm3, side, settled)
    through = bool(whole.all() and (side[may] != 0).all())
    return _Attempt(parents, weight, parent, opened, opened.closed_again if through else 0)


def _settled(
    tets: Ints,
    across: Ints,
    facets: NDArray[np.bool_],
    side: NDArray[np.int8],
    sheet: Sheet | Values,
    positions: Array,
) -> NDArray[np.bool_]:
    """Tetrahedra that may not change sides: those that do not touch the cut, and those that reach beyond its end."""
    touched = np.zeros(len(positions), dtype=bool)
    tet, facet = np.nonzero(facets)
    touched[tets[tet[:, None], FACETS_OF_TET[facet]]] = True
    mixed = side == 0
    settled = mixed | (mixed[np.maximum(across, 0)] & (across >= 0)).any(axis=1)
    settled |= ~touched[tets].any(axis=1)
    if not isinstance(sheet, Values) and mixed.any():
        free = np.flatnonzero(~settled)
        vertices, corner = np.unique(tets[free], return_inverse=True)
        beyond = sheet.extent(positions[vertices]) >= 0.0
        settled[free] = beyond[corner.reshape(-1, 4)].any(axis=1)
    return settled


def _between(points: Array, parents: Ints, weight: Array) -> Array:
    """Places between two points each; exactly the first where the weight is 0."""
    placed = points[parents[:, 0]]
    moved = np.flatnonzero(weight)
    t = weight[moved, None]
    placed[moved] = (1.0 - t) * placed[moved] + t * points[parents[moved, 1]]
    return placed


def _change(organ: OrganMesh, mesh: Mesh, made: _Attempt) -> TopologyChange:
    """Put the new mesh together."""
    opened = made.opened
    if not opened.opened.any():
        raise SolverError(
            "The cut opens nothing: the tissue is open already there, or the cut is smaller than an element "
            f"({mesh.length.mean():.1f} mm wide); cut elsewhere, longer or deeper, or mesh finer."
        )
    parents, weight = made.parents[opened.original], made.weight[opened.original]
    points = _between(organ.points, parents, weight)
    after = OrganMesh(points, opened.tets, organ.region[made.tet_parent], organ.structures, organ.report)
    tet, facet = np.nonzero(opened.opened)
    raw = opened.tets[tet[:, None], FACETS_OF_TET[facet]]
    return TopologyChange(
        organ, after, parents, weight, made.tet_parent, raw, 0.5 * area_mm2(after.points, raw)
    )


def _sides(
    tets: Ints, vertex_side: NDArray[np.int8], sheet: Sheet | Values, positions: Array, marks: Marks
) -> NDArray[np.int8]:
    """Side of the sheet each tetrahedron lies on; 0 where it reaches to both outside the swept part."""
    corners = vertex_side[tets]
    low, high = corners.min(axis=1), corners.max(axis=1)
    side = np.where(low >= 0, high, np.where(high <= 0, low, 0)).astype(np.int8)
    flat = np.flatnonzero((low == 0) & (high == 0))
    if len(flat):
        # All corners on the sheet: the side on which its middle lies.
        if isinstance(sheet, Values):
            known = levels(sheet, positions[: len(marks.side)])
            middle = np.r_[known, np.zeros(len(marks.cut))][tets[flat]].mean(axis=1)
        else:
            middle = sheet.distance(positions[tets[flat]].mean(axis=1))
        side[flat] = np.where(middle >= 0.0, 1, -1)
    return side
