"""Ligaments and neighbours: where an organ is held, and how stiffly.

An attachment is an elastic (Robin) support on a patch of the organ's outer surface: it stores
k_n/2 (u·n)² + k_t/2 |u − (u·n) n|² per reference area, u being the displacement from the stress-free shape
and n the outward normal there. Patches are found from the shape of the organ in the patient's frame (LPS),
never picked by hand: the liver hangs from the diaphragm and the vena cava by the coronary ligament around
its bare area, whose lateral ends are the triangular ligaments; the falciform ligament runs over its dome to
the anterior wall; its pedicle enters at the porta; everything else lies in fat (Gray's Anatomy, 42nd ed.,
ch. 67).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh
from solver.errors import SolverError

Array = NDArray[np.float64]
Index = NDArray[np.int64]

# Stiffness per area of a layer of tissue between organ and wall: k_n = E/L and k_t = µ/L of a layer of
# thickness L. Fat: µ = 0.53 kPa (Sims 2010), E = 3 µ, L = 10 mm.
FAT = (0.159, 0.053)
FAT_SOURCE = "layer of 10 mm of fat, µ = 0.53 kPa (Sims 2010, Biomech Model Mechanobiol 9:703)"
BARE_AREA = (1.5, 0.5)
LIGAMENT = (0.6, 0.6)
VENA_CAVA = (6.0, 6.0)
SOURCE = "first estimate"


@dataclass(frozen=True, eq=False)
class Attachment:
    """An elastic support of part of the outer surface.

    Parameters
    ----------
    name : str
        What holds the organ there.
    facets : ndarray, shape (k, 3), int64
        Vertex triples of exterior triangles of the organ.
    normal_kPa_mm, tangential_kPa_mm : float
        Traction per displacement along the surface normal and across it, kPa/mm.
    released : bool
        True once divided: it then holds nothing.
    source : str
        Where the stiffness comes from.
    """

    name: str
    facets: Index
    normal_kPa_mm: float
    tangential_kPa_mm: float
    released: bool = False
    source: str = ""

    def __post_init__(self) -> None:
        facets = np.ascontiguousarray(self.facets, dtype=np.int64)
        if facets.ndim != 2 or facets.shape[1] != 3 or not len(facets):
            raise SolverError(
                f"The attachment '{self.name}' has no facets; give (k, 3) vertex triples of the surface."
            )
        object.__setattr__(self, "facets", facets)
        for value in (self.normal_kPa_mm, self.tangential_kPa_mm):
            if not (np.isfinite(value) and value >= 0):
                raise SolverError(
                    f"The attachment '{self.name}' has stiffness {value:g} kPa/mm; it must not be negative."
                )

    def release(self) -> Attachment:
        """The same attachment, divided."""
        return replace(self, released=True)


def from_anatomy(organ: OrganMesh) -> list[Attachment]:
    """Attachments of an organ, from its shape and structures.

    Parameters
    ----------
    organ : OrganMesh

    Returns
    -------
    list of Attachment
        Of the liver its ligaments, vena cava and pedicle, where the mesh has a liver; of every other
        structure with an outer surface a weak foundation of fat.
    """
    surface = _Surface.of(organ)
    found: list[tuple[str, NDArray[np.bool_], tuple[float, float], str]] = []
    if "liver" in organ.structures.values() and surface.belongs("liver").any():
        found += _of_liver(surface)
    taken = np.zeros(len(surface.facets), dtype=bool)
    attachments: list[Attachment] = []
    for name, mask, (normal, tangential), source in found:
        free = mask & ~taken
        taken |= free
        if free.any():
            attachments.append(Attachment(name, surface.facets[free], normal, tangential, source=source))
    for structure in organ.structures.values():
        mask = surface.belongs(structure) & ~taken
        if mask.any() and not structure.startswith("liver"):
            attachments.append(
                Attachment(f"fat around {structure}", surface.facets[mask], *FAT, source=FAT_SOURCE)
            )
    return attachments


@dataclass(frozen=True, eq=False)
class _Surface:
    """Outer surface of an organ with what patches are chosen by."""

    organ: OrganMesh
    facets: Index
    centre: Array
    normal: Array
    area: Array

    @staticmethod
    def of(organ: OrganMesh) -> _Surface:
        a, b, c = (organ.points[organ.exterior[:, i]] for i in range(3))
        cross = np.cross(b - a, c - a)
        length = np.linalg.norm(cross, axis=1)
        return _Surface(organ, organ.exterior, (a + b + c) / 3, cross / length[:, None], length / 2)

    def belongs(self, structure: str) -> NDArray[np.bool_]:
        """Facets whose tetrahedron is of a structure."""
        return np.asarray(self.organ.region[self.organ.exterior_tets] == self.organ.value_of(structure))


def _vena_cava(surface: _Surface) -> Array:
    """Where the vena cava passes the liver, (x, y, z) mm: its centroid, or where its groove must be."""
    organ = surface.organ
    if "inferior_vena_cava" in organ.structures.values() and len(organ.tets_of("inferior_vena_cava")):
        low, high = np.quantile(organ.points[organ.vertices_of("liver"), 2], (0.5, 1.0))
        points = organ.points[organ.vertices_of("inferior_vena_cava")]
        beside = points[(points[:, 2] >= low) & (points[:, 2] <= high)]
        return np.asarray((beside if len(beside) else points).mean(axis=0))
    points = organ.points[organ.vertices_of("liver")]
    low, high = points.min(axis=0), points.max(axis=0)
    # The groove lies right of the midline, a little left of the middle of the liver's width, on its back.
    x = low[0] + 0.55 * (high[0] - low[0])
    z = low[2] + 0.65 * (high[2] - low[2])
    near = points[
        (np.abs(points[:, 0] - x) < 0.1 * (high[0] - low[0])) & (points[:, 2] > z - 0.2 * (high[2] - low[2]))
    ]
    return np.array([x, (near if len(near) else points)[:, 1].max(), z])


def _of_liver(surface: _Surface) -> list[tuple[str, NDArray[np.bool_], tuple[float, float], str]]:
    liver = surface.belongs("liver")
    points = surface.organ.points[surface.organ.vertices_of("liver")]
    low, high = points.min(axis=0), points.max(axis=0)
    width, height = (high - low)[[0, 2]]
    cava = _vena_cava(surface)
    c, n = surface.centre, surface.normal
    back, up = n[:, 1], n[:, 2]
    upper = c[:, 2] > low[2] + 0.45 * height
    dorsal = (
        liver & upper & ((back > 0.35) | ((back > -0.1) & (up > 0.6) & (c[:, 1] > cava[1] - 0.15 * width)))
    )
    bare = dorsal & (c[:, 0] > cava[0] - 0.28 * width) & (c[:, 0] < cava[0] + 0.1 * width)
    right = dorsal & (c[:, 0] <= cava[0] - 0.28 * width) & (c[:, 0] > cava[0] - 0.36 * width)
    left = liver & upper & (up > 0.3) & (c[:, 0] > high[0] - 0.12 * width)
    plane = cava[0] + 0.15 * (cava[1] - c[:, 1])
    band = max(4.0, 0.75 * float(np.sqrt(4 / np.sqrt(3) * np.median(surface.area))))
    falciform = (
        liver
        & (np.abs(c[:, 0] - plane) < band)
        & (c[:, 1] < cava[1] - 0.1 * width)
        & ((back < -0.2) | (up > 0.4))
    )
    groove = liver & upper & (np.linalg.norm((c - cava)[:, :2], axis=1) < 0.12 * width) & (back > -0.2)
    return [
        *_of_vessels(surface),
        ("inferior vena cava", groove, VENA_CAVA, SOURCE),
        ("coronary ligament", bare, BARE_AREA, SOURCE),
        ("right triangular ligament", right, LIGAMENT, SOURCE),
        ("left triangular ligament", left, LIGAMENT, SOURCE),
        ("falciform ligament", falciform, LIGAMENT, SOURCE),
    ]


def _of_vessels(surface: _Surface) -> list[tuple[str, NDArray[np.bool_], tuple[float, float], str]]:
    found = []
    for structure, name in (
        ("inferior_vena_cava", "inferior vena cava"),
        ("portal_vein_and_splenic_vein", "hepatoduodenal ligament"),
        ("portal_vein", "hepatoduodenal ligament"),
    ):
        if structure in surface.organ.structures.values():
            mask = surface.belongs(structure)
            stiffness = VENA_CAVA if structure == "inferior_vena_cava" else LIGAMENT
            found.append((name, mask, stiffness, SOURCE))
    return found
