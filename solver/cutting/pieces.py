"""Pieces: what hangs together, and a mesh without some of its tetrahedra."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anatomy.lattice.topology import neighbours_of, pieces_of
from anatomy.manifold import pinched_edges, pinched_vertices
from anatomy.mesh import FACETS_OF_TET, OrganMesh
from solver.cutting.opening import open_facets
from solver.errors import SolverError
from solver.topology import TopologyChange

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


def pieces(organ: OrganMesh) -> Ints:
    """Number of the piece each tetrahedron belongs to, shape (m,); the largest by volume is 0, and so on down.

    Tetrahedra of one piece hang together over common facets, whatever their region.
    """
    return pieces_within(organ, np.ones(len(organ.tets), dtype=bool))


def pieces_within(organ: OrganMesh, part: NDArray[np.bool_]) -> Ints:
    """The same where a part (m,) of the tetrahedra and the others are not taken to hang together."""
    found = pieces_of(part.astype(np.int64), neighbours_of(organ.tets))
    size = np.bincount(found, weights=organ.tet_volumes)
    rank = np.empty(len(size), dtype=np.int64)
    rank[np.argsort(-size, kind="stable")] = np.arange(len(size))
    return np.asarray(rank[found])


def without(organ: OrganMesh, tets: NDArray[np.int64] | NDArray[np.bool_]) -> TopologyChange:
    """Take tetrahedra away.

    Parameters
    ----------
    organ : OrganMesh
    tets : ndarray, shape (k,), int64 or shape (m,), bool
        Which; usually a whole piece.

    Returns
    -------
    TopologyChange
        Vertices that nothing uses any more are left out; the others keep their order. Facets that are laid open are
        raw. Where the rest would touch itself in a vertex only, that vertex is copied.

    Raises
    ------
    SolverError
        If there is no such tetrahedron, nothing would be left, or the surface of the rest would not be a manifold.
    """
    count = len(organ.tets)
    gone = np.zeros(count, dtype=bool)
    rows = np.asarray(tets)
    if rows.dtype != bool and len(rows) and (int(rows.min()) < 0 or int(rows.max()) >= count):
        raise SolverError(f"There is no tetrahedron {rows.max()} to take away; the organ has {count}.")
    gone[rows] = True
    if not gone.any():
        raise SolverError("Nothing was chosen to take away; name at least one tetrahedron.")
    if gone.all():
        raise SolverError("This would take the whole organ away; leave a part of it.")
    across = neighbours_of(organ.tets)
    bare = ~gone[:, None] & (across >= 0) & gone[np.maximum(across, 0)]
    kept = np.flatnonzero(~gone)
    row = np.full(count + 1, -1, dtype=np.int64)
    row[kept] = np.arange(len(kept))
    # Open what was laid bare in the rest alone: its facets to what is gone are exterior there already.
    opened = open_facets(
        organ.tets[kept], row[across[kept]], np.zeros((len(kept), 4), dtype=bool), len(organ.points),
        np.unique(organ.tets[kept][np.nonzero(bare[kept])[0]]),
    )  # fmt: skip
    used, local = np.unique(opened.tets, return_inverse=True)
    after_tets = local.reshape(-1, 4)
    original = opened.original[used]
    after = OrganMesh(organ.points[original], after_tets, organ.region[kept], organ.structures, organ.report)
    tet, facet = np.nonzero(bare[kept])
    raw = after_tets[tet[:, None], FACETS_OF_TET[facet]]
    if _touches_itself(after) and not _touches_itself(organ):
        raise SolverError(
            f"Without these {int(gone.sum())} tetrahedra the rest would touch itself in an edge or a point; cut "
            "along a surface first and take the piece away."
        )
    parents = np.stack([original, original], axis=1)
    return TopologyChange(organ, after, parents, np.zeros(len(used)), kept, raw, area_mm2(after.points, raw))


def _touches_itself(organ: OrganMesh) -> bool:
    return bool(len(pinched_edges(organ.exterior)) or len(pinched_vertices(organ.exterior)))


def area_mm2(points: Array, facets: Ints) -> float:
    """Area of triangles (k, 3), mm²."""
    a, b, c = (points[facets[:, i]] for i in range(3))
    return 0.5 * float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum())
