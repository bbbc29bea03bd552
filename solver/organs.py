"""Organs: which structures of a mesh are one organ to a surgeon, and which organ a place belongs to.

A mesh may hold several organs, and organs that touch share facets, so that no gap tells them apart. What lies within an
organ counts to it: tumours and cysts, the vessels inside the liver, cortex and medulla of a kidney, the parts of
the brain.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from anatomy.mesh import OrganMesh
from solver.anchors import located
from solver.errors import SolverError

Array = NDArray[np.float64]

_WITHIN = {
    "liver": ("portal_vein", "hepatic_vein", "hepatic_artery", "bile_duct"),
    "brain": (
        "grey_matter", "white_matter", "ventricles", "cerebrospinal_fluid", "brainstem", "cerebellum",
        "septum_pellucidum", "caudate_nucleus", "lentiform_nucleus", "insular_cortex", "internal_capsule",
        "frontal_lobe", "parietal_lobe", "occipital_lobe", "temporal_lobe", "thalamus",
    ),
}  # fmt: skip
_PAIRED = ("kidney", "lung", "ureter", "adrenal")


def organ_name(structure: str) -> str:
    """The organ a structure counts to: "liver" for "liver_tumour", "kidney_left" for "kidney_cortex_left"."""
    for organ, parts in _WITHIN.items():
        if structure.startswith(parts):
            return organ
    first, *rest = structure.split("_")
    side = rest[-1] if first in _PAIRED and rest and rest[-1] in ("left", "right") else ""
    return f"{first}_{side}" if side else first


def organ_tets(organ: OrganMesh, structure: str) -> NDArray[np.bool_]:
    """Tetrahedra of the organ that a structure counts to, shape (m,).

    Raises
    ------
    SolverError
        If the mesh has no such structure.
    """
    if structure not in organ.structures.values():
        known = ", ".join(organ.structures.values())
        raise SolverError(f"There is no '{structure}' in the organ; it has {known}.")
    wanted = organ_name(structure)
    values = [value for value, name in organ.structures.items() if organ_name(name) == wanted]
    return np.asarray(np.isin(organ.region, values))


def structure_at(organ: OrganMesh, positions: Array, points: Iterable[Array]) -> str:
    """The structure that most of some points are in, or nearest to.

    Parameters
    ----------
    organ : OrganMesh
    positions : ndarray, shape (n, 3)
        Where its vertices are now, mm.
    points : iterable of ndarray, shape (3,)
    """
    names: list[str] = []
    outer = cKDTree(positions[organ.exterior].mean(axis=1))
    for point in points:
        place = located(organ, positions, point)
        tet = organ.exterior_tets[outer.query(point)[1]] if place is None else place.tet[0]
        names.append(organ.structures[int(organ.region[tet])])
    return max(names, key=lambda name: (sum(organ_name(n) == organ_name(name) for n in names), name))
