"""Margins: how far a tumour is from what was cut, from vessels and from the capsule.

Distances are between the surface of the mesh's tumour and the triangles of the cut faces, exact for the vertices of
either side. They are measured where the tumour is: in the specimen as it was taken out, in the body as it is now, and
for both in the scanned shape as well, in which every piece keeps its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from anatomy.embedding import Embedding, distance_to_surface
from anatomy.mesh import OrganMesh, unpaired_facets
from anatomy.vessels import VesselTree
from twin.case import Case

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Name of the field's data that says which tumour each tetrahedron is part of.
TUMOUR = "tumour"
#: Organs that hang on one pedicle, through which all their arteries come; what is left of them has to work.
PEDICLED = ("liver", "kidney_left", "kidney_right", "spleen")
#: Borders of the classes of the distribution of a margin, mm.
CLASSES_MM = (0.0, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0)
# Branches named beside a tumour: of this calibre and wider, this near, so many of each system.
_CALIBRE_MM, _NEAR_MM, _BRANCHES = 3.0, 40.0, 5
# A facet whose middle is nearer than this to the first surface is a part of it; cut positions are exact to rounding.
_ON_SURFACE_MM = 1e-6
# Middles of the four quarters of a triangle, in its barycentric coordinates.
_QUARTERS = np.array([[2, 2, 2], [4, 1, 1], [1, 4, 1], [1, 1, 4]]) / 6.0


def find_tumours(organ: OrganMesh) -> tuple[list[str], Ints]:
    """Tumours of a mesh, each connected part of a tumour structure by itself, the largest first.

    Returns
    -------
    names : list of str
        The structure's name, numbered from 1 where it has several parts.
    number : ndarray, shape (m,), int64
        Row in `names` of each tetrahedron; −1 outside tumours.
    """
    number = np.full(len(organ.tets), -1, dtype=np.int64)
    names: list[str] = []
    for value, structure in organ.structures.items():
        own = np.flatnonzero(organ.region == value)
        if organ_of(structure) == structure or not len(own):
            continue
        part = _connected(organ.tets[own])
        volume = np.bincount(part, organ.tet_volumes[own])
        for rank, which in enumerate(np.argsort(-volume, kind="stable"), 1):
            number[own[part == which]] = len(names)
            names.append(structure if len(volume) == 1 else f"{structure} {rank}")
    return names, number


def organ_of(structure: str) -> str:
    """The organ that a structure counts to: "liver" for "liver_tumour"; itself for an organ."""
    return structure.replace("_tumour", "")


def _connected(tets: Ints) -> Ints:
    """Number of the connected part (over shared vertices) of each tetrahedron."""
    used, local = np.unique(tets, return_inverse=True)
    local = local.reshape(-1, 4)
    edges = np.concatenate([local[:, [0, i]] for i in (1, 2, 3)])
    graph = coo_array((np.ones(len(edges), dtype=np.int8), edges.T), shape=(len(used),) * 2)
    return np.asarray(connected_components(graph, directed=False)[1][local[:, 0]])


def cut_faces(organ: OrganMesh, whole: OrganMesh) -> Ints:
    """Outer facets of a piece that are no part of the outer surface of the whole, shape (k, 3).

    Parameters
    ----------
    organ, whole : OrganMesh
        Both in the scanned shape.
    """
    outer = organ.exterior
    known = {point.tobytes(): row for row, point in enumerate(whole.points)}
    same = np.array([known.get(point.tobytes(), -1) for point in organ.points], dtype=np.int64)
    rows = same[outer]
    old = (rows >= 0).all(axis=1)
    raw = ~old
    raw[old] = ~np.isin(_keys(rows[old], len(whole.points)), _keys(whole.exterior, len(whole.points)))
    doubtful = np.flatnonzero(raw)
    if len(doubtful):
        middle = organ.points[outer[doubtful]].mean(axis=1)
        raw[doubtful] = distance_to_surface(middle, whole.points, whole.exterior) > _ON_SURFACE_MM
    return outer[raw]


def _keys(facets: Ints, count: int) -> Ints:
    low = np.sort(facets, axis=1)
    return np.asarray((low[:, 0] * count + low[:, 1]) * count + low[:, 2])


@dataclass(frozen=True)
class Margin:
    """How far a tumour's surface is from cut faces.

    Parameters
    ----------
    minimum_mm : float
    p5_mm, median_mm : float
        5th and 50th percentile over the tumour's surface, by area.
    area_share : tuple of float
        Share of the tumour's surface in each class of `CLASSES_MM`, the last one without an upper border; sums to 1.
    """

    minimum_mm: float
    p5_mm: float
    median_mm: float
    area_share: tuple[float, ...]

    def describe(self) -> dict[str, Any]:
        """JSON-ready numbers."""
        return {
            "minimum_mm": self.minimum_mm,
            "p5_mm": self.p5_mm,
            "median_mm": self.median_mm,
            "classes_mm": list(CLASSES_MM),
            "area_share": list(self.area_share),
        }


def margin(points: Array, tumour_tets: Ints, faces: Ints) -> Margin | None:
    """Margin of a tumour in one shape.

    Parameters
    ----------
    points : ndarray, shape (n, 3), float64
        Vertices of the piece in that shape, mm.
    tumour_tets : ndarray, shape (k, 4), int64
        The tumour's tetrahedra in it.
    faces : ndarray, shape (f, 3), int64
        Cut faces of the piece.

    Returns
    -------
    Margin or None
        None where nothing is cut, or the piece has none of the tumour.
    """
    if not len(faces) or not len(tumour_tets):
        return None
    surface = unpaired_facets(tumour_tets)[0]
    corner = points[surface]
    area = 0.5 * np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    # Each triangle in four: a distribution needs places all over the surface, its least value the vertices.
    places = np.einsum("qc,fcd->fqd", _QUARTERS, corner).reshape(-1, 3)
    weight = np.repeat(area / 4.0, 4)
    gap = distance_to_surface(places, points, faces)
    least = distance_to_surface(points[np.unique(surface)], points, faces)
    back = distance_to_surface(points[np.unique(faces)], points, surface)
    order = np.argsort(gap)
    below = (np.cumsum(weight[order]) - 0.5 * weight[order]) / weight.sum()
    p5, median = np.interp([0.05, 0.5], below, gap[order])
    share = np.histogram(gap, bins=[*CLASSES_MM, np.inf], weights=weight)[0] / weight.sum()
    return Margin(
        float(min(least.min(), back.min())), float(p5), float(median), tuple(float(s) for s in share)
    )


def surroundings(
    organ: OrganMesh, tumour_tets: Ints, trees: Mapping[str, VesselTree] | None = None
) -> dict[str, Any]:
    """What lies round a tumour before anything is done: distance to the capsule and to vessels.

    Parameters
    ----------
    organ : OrganMesh
        The whole in the scanned shape.
    tumour_tets : ndarray, shape (k,), int64
    trees : mapping of str to VesselTree, optional

    Returns
    -------
    dict
        `to_capsule_mm`, from the tumour's surface to the outer surface of the mesh, 0 where it reaches it; and
        `vessels`, by system, the nearest branches of 3 mm and wider within 40 mm, each with `distance_mm` from the
        tumour's surface to the vessel's wall (0 where they touch), `calibre_mm` there, and the branch's `strahler`
        order.
    """
    tets = organ.tets[tumour_tets]
    surface = unpaired_facets(tets)[0]
    capsule = distance_to_surface(organ.points[np.unique(surface)], organ.points, organ.exterior)
    back = distance_to_surface(organ.points[np.unique(organ.exterior)], organ.points, surface)
    found = {name: _branches_near(organ.points, tets, tree) for name, tree in (trees or {}).items()}
    return {"to_capsule_mm": float(min(capsule.min(), back.min())), "vessels": found}


def tumours_and_vessels(case: Case) -> dict[str, dict[str, Any]]:
    """What lies round each tumour of a case, by its name; see `surroundings`."""
    names, number = find_tumours(case.organ)
    return {
        name: surroundings(case.organ, np.flatnonzero(number == row), case.vessels)
        for row, name in enumerate(names)
    }


def _branches_near(points: Array, tets: Ints, tree: VesselTree) -> list[dict[str, float]]:
    rows = np.flatnonzero(tree.parent >= 0)
    start, end, radius = tree.segments
    share = np.array([0.25, 0.5, 0.75, 1.0])
    places = (start[:, None] + share[:, None] * (end - start)[:, None]).reshape(-1, 3)
    used, local = np.unique(tets, return_inverse=True)
    gap = (
        Embedding((points[used], local.reshape(-1, 4)), places).outside_mm.reshape(-1, len(share)).min(axis=1)
    )
    wall = np.maximum(gap - radius, 0.0)
    wide = (2.0 * radius >= _CALIBRE_MM) & (wall <= _NEAR_MM)
    nearest: dict[int, int] = {}
    for row in np.flatnonzero(wide)[np.argsort(wall[wide], kind="stable")]:
        nearest.setdefault(int(tree.branch_of_node[rows[row]]), int(row))
    return [
        {
            "distance_mm": float(wall[row]),
            "calibre_mm": 2.0 * float(radius[row]),
            "strahler": int(tree.branches[branch].strahler),
            "node": int(rows[row]),
        }
        for branch, row in list(nearest.items())[:_BRANCHES]
    ]
