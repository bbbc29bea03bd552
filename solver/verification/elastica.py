"""Elastica: a slender cantilever bent far by a dead load at its tip (Mattiasson 1981, Int J Numer Methods Eng 17:145).

40 × 1 × 1 mm, Saint Venant–Kirchhoff with Poisson's ratio zero, quadratic tetrahedra.
"""

from __future__ import annotations

import numpy as np

from solver.body import Body
from solver.equilibrium import Equilibrium
from solver.loads import Traction
from solver.materials import SaintVenantKirchhoff
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block
from solver.verification.row import Row

LENGTH, YOUNG = 40.0, 1000.0
DEFLECTION = {1: 0.30172, 2: 0.49346, 5: 0.71379, 10: 0.81061}
SOURCE = "Mattiasson 1981, Int J Numer Methods Eng 17:145"


def tip_deflection(load_ratio: float, cells: int = 20) -> float:
    """Deflection of the tip over the length, at P L²/(E I) = `load_ratio`."""
    organ = kuhn_block((LENGTH, 1, 1), (cells, 1, 1), {1: "beam"})
    end = organ.exterior[(organ.points[organ.exterior][:, :, 0] == LENGTH).all(axis=1)]
    beam = Tissue("beam", SaintVenantKirchhoff(0.0, YOUNG / 2), None, 1e-6, "verification")
    body = Body(organ, {"beam": beam}, [], (0, 0, 0), patches={"end": end})
    force = load_ratio * YOUNG / 12 / LENGTH**2
    clamped = np.flatnonzero(organ.points[:, 0] == 0)
    solver = Equilibrium(body, "P2", [Traction("end", (0, force, 0))])
    state = solver.solve((clamped, np.zeros((len(clamped), 3))), steps=8)
    tip = organ.points[:, 0] == LENGTH
    return float(state.displacement[tip, 1].mean() / LENGTH)


def run() -> list[Row]:
    """Tip deflections at four loads."""
    return [
        Row.compare(
            "elastica", f"tip deflection / length at PL²/EI = {k}", tip_deflection(k), v, 0.01, SOURCE
        )
        for k, v in DEFLECTION.items()
    ]
