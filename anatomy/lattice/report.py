"""What the mesher measured, label by label, ready for JSON."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomy.lattice.fields import Fields, to_surface
from anatomy.lattice.quality import dihedral_angles
from anatomy.lattice.topology import neighbours_of, pieces_of, surface_within, volumes_of


def measure(
    points: NDArray[np.float64],
    tets: NDArray[np.int64],
    label: NDArray[np.int64],
    fields: Fields,
    names: list[str],
    voxel_mm3: NDArray[np.floating[Any]],
    edge_mm: float,
    pinched: int,
) -> dict[str, Any]:
    """Measure a mesh against the label map it stands for.

    Parameters
    ----------
    points, tets, label
        The mesh, labels by index from 1.
    fields : Fields
        Smooth label fields; distances are to the surfaces they have without bias.
    names : list of str
        Structures of the indices from 1.
    voxel_mm3 : ndarray, shape (L + 1,)
        Volume of each label in the label map.
    edge_mm : float
        Edge of the coarsest lattice; distances are searched as far as that.
    pinched : int
        Vertices around which the surface of a label is no 2-manifold.

    Returns
    -------
    dict
        `vertices`, `tets`, `dihedral_deg`, `pieces`, `pieces_ml` (the 20 largest), `pinched_vertices` of the whole
        (volumes in ml, distances in mm, angles in degrees), and under `labels` for each structure `voxel_ml`,
        `mesh_ml`, `error_percent`, `surface_distance_mean_mm`, `surface_distance_95_mm`,
        `surface_distance_max_mm` (from vertices and facet centroids of its surface), `tets`,
        `pieces`, `dihedral_min_deg`, `dihedral_max_deg`.
    """
    angles = dihedral_angles(points, tets)
    volume = volumes_of(points, tets)
    across = neighbours_of(tets)
    piece = pieces_of(label, across)
    plain = replace(fields, bias=np.zeros_like(fields.bias))
    labels: dict[str, Any] = {}
    for index, name in enumerate(names, start=1):
        mine = label == index
        distance = _surface_distance(points, surface_within(tets, mine, across), index, plain, edge_mm)
        labels[name] = {
            **_volumes(float(voxel_mm3[index]), float(volume[mine].sum())),
            **_distances(distance),
            "tets": int(mine.sum()),
            "pieces": int(np.unique(piece[mine]).size),
            "dihedral_min_deg": round(float(angles[mine, 0].min()), 3) if mine.any() else None,
            "dihedral_max_deg": round(float(angles[mine, 1].max()), 3) if mine.any() else None,
        }
    whole = pieces_of(np.ones_like(label), across)
    largest = sorted(np.round(np.bincount(whole, weights=volume) / 1000, 4).tolist(), reverse=True)
    return {
        "vertices": len(points),
        "tets": len(tets),
        "dihedral_deg": [round(float(angles[:, 0].min()), 3), round(float(angles[:, 1].max()), 3)],
        "pieces": int(whole.max()) + 1,
        "pieces_ml": largest[:20],
        "pinched_vertices": pinched,
        "labels": labels,
    }


def _volumes(label_mm3: float, mesh_mm3: float) -> dict[str, float]:
    return {
        "voxel_ml": round(label_mm3 / 1000, 4),
        "mesh_ml": round(mesh_mm3 / 1000, 4),
        "error_percent": round(100 * (mesh_mm3 / label_mm3 - 1), 3),
    }


def _distances(distance: NDArray[np.float64]) -> dict[str, float | None]:
    """Mean, 95th percentile and largest; None of a structure without a surface."""
    found = (distance.mean(), np.percentile(distance, 95), distance.max()) if len(distance) else (None,) * 3
    names = ("surface_distance_mean_mm", "surface_distance_95_mm", "surface_distance_max_mm")
    return {name: None if mm is None else round(float(mm), 4) for name, mm in zip(names, found, strict=True)}


def _surface_distance(
    points: NDArray[np.float64], surface: NDArray[np.int64], index: int, fields: Fields, reach_mm: float
) -> NDArray[np.float64]:
    """Distance in mm of a surface's vertices and facet centroids to the surface of a label's smooth field."""
    at = np.concatenate([points[np.unique(surface)], points[surface].mean(axis=1)])
    return np.asarray(np.linalg.norm(to_surface(fields, at, index, reach_mm) - at, axis=1))
