"""OrganMesh: one conforming tetrahedral mesh of several tissues, in the DICOM patient frame.

Contract: `points` are millimetres in LPS (x to the patient's left, y posterior, z superior). Every tetrahedron
has positive volume and belongs to one region; two tetrahedra meet in a whole facet, edge or vertex or not at
all, also across regions. Facets are derived, never stored: a facet that belongs to one tetrahedron is exterior,
one whose two tetrahedra differ in region is an interface.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anatomy.errors import AnatomyError

# Local vertex triples of the four facets of a positive tetrahedron, wound so that the normal points outward;
# facet i lies opposite vertex i.
FACETS_OF_TET = np.array([[1, 2, 3], [0, 3, 2], [0, 1, 3], [0, 2, 1]])


@dataclass(frozen=True, eq=False)
class OrganMesh:
    """A conforming multi-tissue tetrahedral mesh.

    Parameters
    ----------
    points : ndarray, shape (n, 3), float64
        Vertex positions in millimetres, LPS.
    tets : ndarray, shape (m, 4), int64
        Vertex indices, positively oriented.
    region : ndarray, shape (m,), uint8
        Label value of each tetrahedron; a key of `structures`.
    structures : dict of int to str
        Structure name of each label value.
    report : dict
        What the mesher measured: JSON-ready, empty for meshes that were not made from a label map.

    Raises
    ------
    AnatomyError
        If shapes disagree, an index or a region is unknown, or a tetrahedron is flat or inverted.
    """

    points: NDArray[np.float64]
    tets: NDArray[np.int64]
    region: NDArray[np.uint8]
    structures: Mapping[int, str]
    report: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        set_field = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731 - frozen
        set_field("points", np.ascontiguousarray(self.points, dtype=np.float64))
        set_field("tets", np.ascontiguousarray(self.tets, dtype=np.int64))
        set_field("region", np.ascontiguousarray(self.region, dtype=np.uint8))
        set_field("structures", {int(k): str(v) for k, v in self.structures.items()})
        self._check()

    def _check(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] != 3 or not len(self.points):
            raise AnatomyError(f"Mesh points have shape {self.points.shape}; give (n, 3) millimetres.")
        if self.tets.ndim != 2 or self.tets.shape[1] != 4 or not len(self.tets):
            raise AnatomyError(f"Mesh tetrahedra have shape {self.tets.shape}; give (m, 4) vertex indices.")
        if self.region.shape != (len(self.tets),):
            raise AnatomyError(f"{len(self.tets)} tetrahedra but {self.region.size} regions; give one each.")
        if self.tets.min() < 0 or self.tets.max() >= len(self.points):
            raise AnatomyError(f"A tetrahedron names a vertex outside 0…{len(self.points) - 1}.")
        if not np.isfinite(self.points).all():
            raise AnatomyError("Mesh points contain values that are not finite.")
        unknown = set(np.unique(self.region).tolist()) - set(self.structures)
        if unknown:
            raise AnatomyError(f"Regions {sorted(unknown)} have no structure name.")
        bad = int((self.tet_volumes <= 0).sum())
        if bad:
            raise AnatomyError(
                f"{bad} of {len(self.tets)} tetrahedra are flat or inverted; reverse two vertices of each or mesh anew."
            )

    @cached_property
    def tet_volumes(self) -> NDArray[np.float64]:
        """Signed volume of each tetrahedron, mm³, shape (m,)."""
        a, b, c, d = (self.points[self.tets[:, i]] for i in range(4))
        return np.einsum("ij,ij->i", b - a, np.cross(c - a, d - a)) / 6.0

    @cached_property
    def volumes_ml(self) -> dict[str, float]:
        """Volume of each structure in millilitres, by name; 0 for a structure without tetrahedra."""
        mm3 = np.bincount(self.region, weights=self.tet_volumes, minlength=256)
        return {name: float(mm3[value]) / 1000.0 for value, name in self.structures.items()}

    def value_of(self, structure: str) -> int:
        """Label value of a structure name.

        Raises
        ------
        AnatomyError
            If the mesh has no such structure.
        """
        for value, name in self.structures.items():
            if name == structure:
                return value
        known = ", ".join(self.structures.values())
        raise AnatomyError(f"The mesh has no structure '{structure}'; it has {known}.")

    def tets_of(self, structure: str) -> NDArray[np.int64]:
        """Indices of the tetrahedra of a structure, shape (k,)."""
        return np.flatnonzero(self.region == self.value_of(structure))

    def vertices_of(self, structure: str) -> NDArray[np.int64]:
        """Indices of the vertices of a structure's tetrahedra, sorted, shape (k,)."""
        return np.unique(self.tets[self.tets_of(structure)])

    @cached_property
    def exterior(self) -> NDArray[np.int64]:
        """Triangles of the outer surface, shape (k, 3), wound so that normals point out of the tissue."""
        return self._facets_between()[0]

    @cached_property
    def exterior_tets(self) -> NDArray[np.int64]:
        """Tetrahedron behind each triangle of `exterior`, shape (k,)."""
        return self._facets_between()[1]

    def surface_of(self, structure: str) -> NDArray[np.int64]:
        """Triangles (k, 3) around a structure, normals out of it: its exterior and its interfaces."""
        inside = self.region == self.value_of(structure)
        return _unpaired(self.tets[inside])[0]

    def interface(self, first: str, second: str) -> NDArray[np.int64]:
        """Triangles (k, 3) between two structures, normals from `first` to `second`."""
        a = self.surface_of(first)
        keys_b = {tuple(row) for row in np.sort(self.surface_of(second), axis=1).tolist()}
        keep = [tuple(row) in keys_b for row in np.sort(a, axis=1).tolist()]
        return a[np.array(keep, dtype=bool)]

    def _facets_between(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return _unpaired(self.tets)


def _unpaired(tets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Facets that belong to exactly one of the tetrahedra, and the row of that tetrahedron."""
    facets = tets[:, FACETS_OF_TET].reshape(-1, 3)
    order = np.lexsort(np.sort(facets, axis=1).T[::-1])
    ranked = np.sort(facets, axis=1)[order]
    same_as_next = np.r_[(ranked[1:] == ranked[:-1]).all(axis=1), False]
    same_as_last = np.r_[False, same_as_next[:-1]]
    alone = np.sort(order[~(same_as_next | same_as_last)])
    return facets[alone], alone // 4
