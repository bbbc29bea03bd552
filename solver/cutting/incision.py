"""Cutting tissue along a sheet: from one conforming mesh to the next.

The sheet lies in the deformed organ; the mesh is cut in the scanned shape and every other shape alike, because all new
vertices lie at the same share of the same edge everywhere. The steps are those of `solver.cutting.snapping` (which
edges are cut, and where), `solver.cutting.split` (their bisection) and `solver.cutting.opening` (the facets on the
sheet come apart). Volume is kept exactly: nothing is removed, and no vertex of an outer surface or an interface moves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anatomy.lattice.topology import neighbours_of, volumes_of
from anatomy.mesh import FACETS_OF_TET, OrganMesh
from solver.cutting.opening import open_facets
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


def cut(
    organ: OrganMesh,
    positions: Array,
    sheet: Sheet | Values,
    floor_mm: float | None = None,
    shapes: Sequence[Array] = (),
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
    marks = mark(mesh, every, sheet, floor)
    tets, parent = split_well(mesh, marks, every, floor)
    return _opened(organ, deformed, sheet, mesh, marks, tets, parent, CRUMB * (floor / FLOOR) ** 3)


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


def _opened(
    organ: OrganMesh,
    positions: Array,
    sheet: Sheet | Values,
    mesh: Mesh,
    marks: Marks,
    tets: Ints,
    parent: Ints,
    crumb_mm3: float,
) -> TopologyChange:
    """Open the facets on the sheet and put the new mesh together."""
    count = len(organ.points)
    own = np.arange(count)
    parents = np.concatenate([np.stack([own, marks.towards], axis=1), mesh.edges[marks.cut]])
    weight = np.concatenate([marks.share, marks.at])
    at_sheet = np.r_[marks.side == 0, np.ones(len(marks.cut), dtype=bool)]
    between = lambda x: (1 - weight[:, None]) * x[parents[:, 0]] + weight[:, None] * x[parents[:, 1]]  # noqa: E731
    now = between(positions)
    side = _sides(tets, np.r_[marks.side, np.zeros(len(marks.cut), dtype=np.int8)], sheet, now, marks)
    across = neighbours_of(tets)
    opposite = (across >= 0) & (side[:, None] * side[np.maximum(across, 0)] < 0)
    tet, facet = np.nonzero(opposite)
    corners = tets[tet[:, None], FACETS_OF_TET[facet]]
    whole = at_sheet[corners].all(axis=1)
    if not isinstance(sheet, Values):
        # From both sides in one order, so that rounding cannot open a facet from one side only.
        whole[whole] = sheet.extent(now[np.sort(corners[whole], axis=1)].mean(axis=1)) < 0.0
    opposite[tet[~whole], facet[~whole]] = False
    volumes = volumes_of(between(organ.points), tets)
    through = side if whole.all() and (side != 0).all() else None
    opened = open_facets(tets, across, opposite, len(parents), None, volumes, crumb_mm3, through)
    if not opened.opened.any():
        raise SolverError(
            "The cut opens nothing: the tissue is open already there, or the cut is smaller than an element "
            f"({mesh.length.mean():.1f} mm wide); cut elsewhere, longer or deeper, or mesh finer."
        )
    parents, weight = parents[opened.original], weight[opened.original]
    points = organ.points[parents[:, 0]]
    moved = np.flatnonzero(weight)
    t = weight[moved, None]
    points[moved] = (1.0 - t) * points[moved] + t * organ.points[parents[moved, 1]]
    after = OrganMesh(points, opened.tets, organ.region[parent], organ.structures, organ.report)
    tet, facet = np.nonzero(opened.opened)
    raw = opened.tets[tet[:, None], FACETS_OF_TET[facet]]
    return TopologyChange(organ, after, parents, weight, parent, raw, 0.5 * area_mm2(after.points, raw))


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
