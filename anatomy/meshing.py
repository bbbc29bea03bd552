"""From a label map to one conforming tetrahedral mesh of all its structures.

A body-centred cubic lattice is laid over the labels in patient space, its vertices are snapped to the smooth
interfaces between labels and its edges cut where they still cross them (`anatomy.lattice`). Nothing is drawn
by chance: the same label map and parameters give the same mesh to the last bit.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.lattice import cleaning, octree, stuffing
from anatomy.lattice.fields import Fields, label_fields
from anatomy.lattice.quality import improved
from anatomy.lattice.report import measure
from anatomy.lattice.sizing import graded_lattice
from anatomy.mesh import FACETS_OF_TET, OrganMesh
from anatomy.progress import Progress, silent

# Mean edge of a body-centred lattice per edge of its cubes: per tetrahedron two edges of 1 and four of √3/2.
_MEAN_EDGE = (2 + 4 * np.sqrt(3) / 2) / 6
# Edges that the thickness of a structure must hold before its cubes are small enough.
_EDGES_ACROSS = 2.0
# Sizes of cubes, each half the one before.
_LEVELS = 4
# A piece below this share of a cube of the typical edge is a speck.
_SPECK = 0.25
# Cuts of the lattice, each after moving the interfaces towards the label map's volumes.
_VOLUME_PASSES = 5
_VOLUME_TOLERANCE = 0.002


def mesh_labels(
    labels: LabelMap,
    edge_mm: float = 6.0,
    budget_tets: int | None = None,
    progress: Progress = silent,
    max_loss: float = 0.3,
    finest_mm: float | None = None,
) -> OrganMesh:
    """Mesh all structures of a label map as one conforming tetrahedral mesh.

    Parameters
    ----------
    labels : LabelMap
        The structures; values up to 255.
    edge_mm : float
        Typical edge length far from thin structures, mm.
    budget_tets : int, optional
        Largest number of tetrahedra; the edge grows until the mesh fits.
    progress : Progress
        Called with the stage and its fraction.
    max_loss : float
        Share of its volume in the label map that a structure may lose before the mesh is refused.

    Returns
    -------
    OrganMesh
        Regions are the label values; `report` is described in `anatomy.lattice.report.measure`, with
        `edge_mm`, `seconds` and the knobs besides.

    Raises
    ------
    AnatomyError
        If a knob makes no sense, or a structure would lose, or gain, more than `max_loss` of its volume.
    """
    _check_knobs(labels, edge_mm, budget_tets, max_loss)
    if finest_mm is not None and not 0 < finest_mm < np.inf:
        raise AnatomyError(f"a finest edge of {finest_mm} mm cannot be meshed: give a length above 0")
    started = time.perf_counter()
    values = sorted(labels.names)
    progress("smoothing the labels", 0.0)
    fields = label_fields(labels.image, values)
    finest_mm = finest_mm or edge_mm / 2
    organ = _mesh_once(labels, fields, edge_mm, finest_mm, max_loss, progress)
    while budget_tets is not None and len(organ.tets) > budget_tets:
        edge_mm *= 1.01 * (len(organ.tets) / budget_tets) ** (1 / 3)
        organ = _mesh_once(labels, fields, edge_mm, finest_mm, max_loss, progress)
    report = {**organ.report, "seconds": round(time.perf_counter() - started, 3)}
    progress("meshing", 1.0)
    return OrganMesh(organ.points, organ.tets, organ.region, organ.structures, report)


def _check_knobs(labels: LabelMap, edge_mm: float, budget_tets: int | None, max_loss: float) -> None:
    if not np.isfinite(edge_mm) or edge_mm <= 0:
        raise AnatomyError(f"an edge of {edge_mm} mm cannot be meshed: give a length above 0, such as 6 mm")
    if budget_tets is not None and budget_tets < 100:
        raise AnatomyError(
            f"a budget of {budget_tets} tetrahedra is too small for an organ: give at least 100"
        )
    if not 0 < max_loss <= 1:
        raise AnatomyError(f"max_loss is a share between 0 and 1, not {max_loss}")
    if max(labels.names) > 255:
        raise AnatomyError(
            f"the mesh keeps label values up to 255; the map has {max(labels.names)}: renumber it"
        )


def _mesh_once(
    labels: LabelMap, fields: Fields, edge_mm: float, finest_mm: float, max_loss: float, progress: Progress
) -> OrganMesh:
    """Mesh at one edge length."""
    progress("laying the lattice", 0.2)
    edges_mm = [
        edge_mm / 2**level for level in range(_LEVELS) if level == 0 or edge_mm / 2**level >= 0.99 * finest_mm
    ]
    tree = graded_lattice(fields, edge_mm / _MEAN_EDGE, edges_mm, _EDGES_ACROSS)
    lattice, tets = octree.tetrahedra(tree)
    voxel_mm3 = np.bincount(labels.array.ravel(), minlength=256)[fields.values] * float(
        np.prod(labels.spacing_mm)
    )
    cut = _cut(lattice, tree.to_mm(lattice), tets, fields, voxel_mm3, progress)
    progress("cleaning", 0.6)
    volume = stuffing.volumes_of(cut.points[cut.tets])
    across = cleaning.neighbours_of(cut.tets)
    label = cleaning.without_specks(cut.label, across, volume, _SPECK * edge_mm**3)
    label = cleaning.without_pinches(cut.tets, label, across, volume)
    keep = label > 0
    used, tets = np.unique(cut.tets[keep], return_inverse=True)
    tets, label = tets.reshape(-1, 4), label[keep]
    progress("improving the shape of tetrahedra", 0.8)
    points = improved(cut.points[used], tets, label)
    progress("measuring", 0.9)
    names = [labels.names[value] for value in fields.values[1:].tolist()]
    report: dict[str, Any] = {"edge_mm": round(edge_mm, 4)}
    report |= measure(points, tets, label, fields, names, voxel_mm3, edge_mm)
    _check_losses(report, max_loss, edge_mm)
    return OrganMesh(points, tets, fields.values[label].astype(np.uint8), labels.names, report)


def _cut(
    lattice: NDArray[np.int64],
    points: NDArray[np.float64],
    tets: NDArray[np.int64],
    fields: Fields,
    voxel_mm3: NDArray[np.floating[Any]],
    progress: Progress,
) -> stuffing.Stuffed:
    """Cut the lattice, moving the interfaces until the volumes are those of the label map; the best attempt."""
    best, least = None, np.inf
    for attempt in range(_VOLUME_PASSES):
        progress("cutting along the interfaces", 0.3 + 0.3 * attempt / _VOLUME_PASSES)
        cut = stuffing.stuff(lattice, points, tets, fields)
        volume = np.bincount(
            cut.label, weights=stuffing.volumes_of(cut.points[cut.tets]), minlength=len(voxel_mm3)
        )
        error = np.abs(volume[1:] / voxel_mm3[1:] - 1)
        if error.sum() < least:
            best, least = cut, float(error.sum())
        if (error < _VOLUME_TOLERANCE).all():
            break
        fields = fields.shifted(_outward(cut, voxel_mm3 - volume))
    assert best is not None
    return best


def _outward(cut: stuffing.Stuffed, missing_mm3: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """How far (mm) each label's surface must move outwards for it to gain `missing_mm3`.

    Moving the surface of label i by d_i changes its volume by Σ_j A_ij (d_i − d_j), where A_ij is the area it
    shares with label j and the background does not move.
    """
    count = len(missing_mm3)
    across = cleaning.neighbours_of(cut.tets)
    tet, facet = np.nonzero((across >= 0) & (cut.label[:, None] != cut.label[across]))
    a, b, c = (cut.points[cut.tets[tet, FACETS_OF_TET[facet, corner]]] for corner in range(3))
    shared = np.zeros((count, count))
    area = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)
    np.add.at(shared, (cut.label[tet], cut.label[across[tet, facet]]), area)
    system = np.diag(shared.sum(axis=1)) - shared
    present = 1 + np.flatnonzero(shared[1:].sum(axis=1))
    outward = np.zeros(count)
    outward[present] = np.linalg.solve(system[np.ix_(present, present)], missing_mm3[present])
    return outward


def _check_losses(report: dict[str, Any], max_loss: float, edge_mm: float) -> None:
    for name, found in report["labels"].items():
        error = found["error_percent"] / 100
        change = "gain" if error > 0 else "lose"
        if abs(error) > max_loss:
            raise AnatomyError(
                f"'{name}' would {change} {100 * abs(error):.0f} % of its {found['voxel_ml']:g} ml at edges of "
                f"{edge_mm:.3g} mm (allowed: {100 * max_loss:.0f} %): it is too thin for them; "
                "make edge_mm smaller, raise the budget, or leave the structure out"
            )
