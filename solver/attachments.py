"""Ligaments and neighbours: where an organ is held, and how stiffly.

An attachment is an elastic (Robin) support on a patch of the organ's outer surface: it stores
k_n/2 (u·n)² + k_t/2 |u − (u·n) n|² per reference area, u being the displacement from the stress-free shape
and n the outward normal there. Patches are found from the shape of the organ in the patient's frame (LPS),
never picked by hand: the liver hangs from the diaphragm and the vena cava by the coronary ligament around
its bare area, whose lateral ends are the triangular ligaments; the falciform ligament runs over its dome to
the anterior wall; its pedicle enters at the porta; the rest of its dome lies against the diaphragm, pressed there
by the abdomen, without which so soft a body could not carry its own weight; everything else lies in fat
(Gray's Anatomy, 42nd ed., ch. 67).

An attachment resists both ways and is what every tier knows. A ligament that goes slack is a load of the reference tier
(`solver.ligaments`), and so is the movement of what an attachment leads to (`solver.breathing.MovedAnchor`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh
from solver.errors import SolverError

Array = NDArray[np.float64]
Index = NDArray[np.int64]

# Normal and tangential stiffness, kPa/mm, and source of a layer of length L between organ and wall: E/L and
# µ/L with E = 3 µ. The moduli are published, the lengths anatomical estimates; nobody has measured these in
# place.
_FAT = (0.159, 0.053, "10 mm of fat, µ = 0.53 kPa (Sims 2010, Biomech Model Mechanobiol 9:703)")
_BARE_AREA = (
    1.47,
    0.49,
    "8 mm of diaphragm, µ = 3.91 kPa as relaxed muscle (Chakouch 2015, PLoS One 10:e0138873)",
)
# Serous surfaces slide on each other, so that the diaphragm holds what it lies against in the normal direction only.
_DIAPHRAGM = (
    1.47,
    0.0,
    "8 mm of diaphragm as above, apposed by the pressure of the abdomen (Gray 1918, Anatomy of the Human Body, "
    "p. 1193)",
)
_VENA_CAVA = (
    6.2,
    2.1,
    "20 mm of vein, a fifth of its section wall, E = 0.62 MPa there (Umale 2011, J Biomech 44:1678)",
)
# A sheet of modulus E, thickness t and length L along a band of width w pulls with E t / (L w) per area.
_LIGAMENT = (
    0.62,
    0.62,
    "fold of peritoneum 1 mm thick and 50 mm long on a band 20 mm wide, E = 0.62 MPa as vein wall (Umale 2011) "
    "for want of its own",
)


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
    patches = _of_liver(surface) if surface.of_liver().any() else []
    for structure in organ.structures.values():
        if not structure.startswith("liver"):
            patches.append(_Patch(f"fat around {structure}", surface.belongs(structure), *_FAT))
    taken = np.zeros(len(surface.facets), dtype=bool)
    attachments = []
    for patch in patches:
        free = patch.facets & ~taken
        taken |= free
        if free.any():
            attachments.append(
                Attachment(
                    patch.name, surface.facets[free], patch.normal, patch.tangential, source=patch.source
                )
            )
    return attachments


class _Patch(NamedTuple):
    """Facets of the outer surface that something holds."""

    name: str
    facets: NDArray[np.bool_]
    normal: float
    tangential: float
    source: str


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

    def of_liver(self) -> NDArray[np.bool_]:
        """Facets of the liver, whole or in segments."""
        names = [n for n in self.organ.structures.values() if n == "liver" or n.startswith("liver_segment")]
        return np.any([self.belongs(n) for n in names] or [np.zeros(len(self.facets), bool)], axis=0)


def _vena_cava(surface: _Surface, points: Array) -> Array:
    """Where the vena cava passes the liver, (x, y, z) mm: its centroid, or where its groove must be."""
    organ = surface.organ
    low, high = points.min(axis=0), points.max(axis=0)
    if "inferior_vena_cava" in organ.structures.values() and len(organ.tets_of("inferior_vena_cava")):
        vessel = organ.points[organ.vertices_of("inferior_vena_cava")]
        beside = vessel[(vessel[:, 2] >= np.median(points[:, 2])) & (vessel[:, 2] <= high[2])]
        return np.asarray((beside if len(beside) else vessel).mean(axis=0))
    # The groove lies right of the midline, a little left of the middle of the liver's width, on its back.
    width, height = (high - low)[[0, 2]]
    x, z = low[0] + 0.55 * width, low[2] + 0.65 * height
    near = points[(np.abs(points[:, 0] - x) < 0.1 * width) & (points[:, 2] > z - 0.2 * height)]
    return np.array([x, (near if len(near) else points)[:, 1].max(), z])


def _of_liver(surface: _Surface) -> list[_Patch]:
    """Patches of the liver's attachments; where two overlap the first keeps the facets.

    Widths are shares of the liver's extent: its bare area reaches about a quarter of the width to the right
    of the vena cava and its ends narrow into the triangular ligaments; the falciform ligament leaves the
    vena cava forwards and a little to the left.
    """
    liver = surface.of_liver()
    points = surface.organ.points[np.unique(surface.facets[liver])]
    low, high = points.min(axis=0), points.max(axis=0)
    width, depth, height = high - low
    cava = _vena_cava(surface, points)
    c, back, up = surface.centre, surface.normal[:, 1], surface.normal[:, 2]
    across, behind = (c[:, 0] - cava[0]) / width, (c[:, 1] - cava[1]) / depth
    upper = liver & (c[:, 2] > low[2] + 0.45 * height)
    # The visceral surface faces back as well, but down and further to the front.
    rear = (back > 0.35) & (up > -0.3) & (behind > -0.3)
    dorsal = upper & (rear | ((back > -0.1) & (up > 0.6) & (behind > -0.15)))
    band = max(4.0, 1.15 * float(np.sqrt(np.median(surface.area))))
    midline = np.abs(c[:, 0] - cava[0] - 0.15 * (cava[1] - c[:, 1])) < band
    hilum = cava - np.array([0.0, 0.3 * depth, 0.2 * height])
    visceral = liver & (up < -0.2)
    porta = visceral & (np.linalg.norm(c - hilum, axis=1) < _reach(c[visceral], hilum, 0.08 * width))
    vessels = _of_vessels(surface)
    if any(patch.name == "hepatoduodenal ligament" for patch in vessels):
        porta[:] = False
    return [
        *vessels,
        _Patch("inferior vena cava", upper & (np.hypot(across, behind) < 0.14) & (back > -0.2), *_VENA_CAVA),
        _Patch("coronary ligament", dorsal & (across > -0.28) & (across < 0.1), *_BARE_AREA),
        _Patch("right triangular ligament", dorsal & (across <= -0.28) & (across > -0.36), *_LIGAMENT),
        _Patch(
            "left triangular ligament", upper & (up > 0.3) & (c[:, 0] > high[0] - 0.12 * width), *_LIGAMENT
        ),
        _Patch(
            "falciform ligament",
            liver & midline & (behind < -0.15) & ((back < -0.2) | (up > 0.4)),
            *_LIGAMENT,
        ),
        _Patch("hepatoduodenal ligament", porta, *_LIGAMENT),
        _Patch("diaphragm", liver & (up > 0.3), *_DIAPHRAGM),
    ]


def _reach(centres: Array, point: Array, radius: float) -> float:
    """Radius of a ball around the centre nearest to a point, measured from the point."""
    return radius + (float(np.linalg.norm(centres - point, axis=1).min()) if len(centres) else 0.0)


def _of_vessels(surface: _Surface) -> list[_Patch]:
    """Patches of the vessels that lead into the liver, where the mesh has them."""
    organ, c = surface.organ, surface.centre
    patches = []
    if "inferior_vena_cava" in organ.structures.values():
        vessel = surface.belongs("inferior_vena_cava")
        z = c[vessel, 2] if vessel.any() else np.zeros(1)
        edge = 2 * float(np.sqrt(np.median(surface.area)))
        ends = (np.abs(surface.normal[:, 2]) > 0.7) & (
            (c[:, 2] < z.min() + edge) | (c[:, 2] > z.max() - edge)
        )
        held = vessel & (ends | (surface.normal[:, 1] > 0.2))
        patches.append(_Patch("inferior vena cava", held, *_VENA_CAVA))
    for structure in ("portal_vein_and_splenic_vein", "portal_vein"):
        if structure in organ.structures.values():
            patches.append(_Patch("hepatoduodenal ligament", surface.belongs(structure), *_LIGAMENT))
    return patches
