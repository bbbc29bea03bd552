"""Strain energies of soft tissue in UFL, one law a file, and how each resists a change of volume.

A tissue is passive law + compressibility + active stress, three objects that are put together and tested alone:
a `Law` stores energy without regard to volume, a `Compressibility` resists the change of volume, an
`ActiveStress` pulls along the fibres. `PronySeries` lets the stress relax; `Membrane` is the capsule around an
organ. Stresses are kPa, lengths mm.
"""

from __future__ import annotations

from solver.materials.active import ActiveStress
from solver.materials.compressibility import Compressibility
from solver.materials.elastic import ElasticConstants
from solver.materials.fung_demiray import FungDemiray
from solver.materials.guccione import Guccione
from solver.materials.holzapfel_gasser_ogden import HolzapfelGasserOgden
from solver.materials.holzapfel_ogden import HolzapfelOgden
from solver.materials.law import Law, isochoric_invariants
from solver.materials.membrane import Membrane
from solver.materials.mooney_rivlin import MooneyRivlin
from solver.materials.neo_hookean import NeoHookean
from solver.materials.ogden import Ogden
from solver.materials.prony import PronySeries
from solver.materials.saint_venant_kirchhoff import SaintVenantKirchhoff

__all__ = [
    "LAWS",
    "ActiveStress",
    "Compressibility",
    "ElasticConstants",
    "FungDemiray",
    "Guccione",
    "HolzapfelGasserOgden",
    "HolzapfelOgden",
    "Law",
    "Membrane",
    "MooneyRivlin",
    "NeoHookean",
    "Ogden",
    "PronySeries",
    "SaintVenantKirchhoff",
    "isochoric_invariants",
]

LAWS: dict[str, type[Law]] = {
    "neo-Hookean": NeoHookean,
    "Mooney-Rivlin": MooneyRivlin,
    "Saint Venant-Kirchhoff": SaintVenantKirchhoff,
    "Ogden": Ogden,
    "Fung-Demiray": FungDemiray,
    "Guccione": Guccione,
    "Holzapfel-Gasser-Ogden": HolzapfelGasserOgden,
    "Holzapfel-Ogden": HolzapfelOgden,
}
