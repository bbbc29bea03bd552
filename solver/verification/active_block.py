"""A free block of muscle that shortens: incompressible neo-Hookean tissue under an active stress along its length.

Nothing pulls at the block, so that passive and active stress along the fibre cancel, µ (λ − λ⁻²) + T λ = 0: the stretch
is λ = (µ/(µ + T))^(1/3). With a share η of the tension across the fibre, the tension that acts is (1 − η) T along the
fibre and η T in every direction, and λ³ = (µ + η T)/(µ + T).
"""

from __future__ import annotations

import numpy as np

from solver.body import Body
from solver.equilibrium import Equilibrium
from solver.materials import ActiveStress, Compressibility, NeoHookean
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block
from solver.verification.row import Row

MU, BULK = 5.0, 1e6


def shortened(tension_kPa: float, transverse: float = 0.0) -> float:
    """Stretch of the block along its fibres."""
    organ = kuhn_block((4, 2, 2), (2, 1, 1), {1: "muscle"})
    tissue = Tissue("muscle", NeoHookean(MU), Compressibility(BULK), 1e-6, "verification")
    fibres = np.broadcast_to([1.0, 0, 0], (len(organ.tets), 1, 3))
    body = Body(organ, {"muscle": tissue}, [], (0, 0, 0), fibres=fibres)
    move = np.where(organ.points == 0, 0.0, np.nan)
    held = np.flatnonzero(np.isfinite(move).any(axis=1))
    solver = Equilibrium(body, "P2-P1", [ActiveStress(tension_kPa, transverse=transverse)])
    state = solver.solve((held, move[held]), steps=4)
    end = organ.points[:, 0] == 4
    return float(1 + state.displacement[end, 0].mean() / 4)


def run() -> list[Row]:
    """Stretch under two tensions, and with a share across the fibre."""
    rows = []
    for tension, share in ((2.0, 0.0), (10.0, 0.0), (10.0, 0.3)):
        exact = ((MU + share * tension) / (MU + tension)) ** (1 / 3)
        quantity = f"µ = 5 kPa, T = {tension:g} kPa, η = {share:g}: stretch along the fibre"
        value = shortened(tension, share)
        rows.append(Row.compare("active block", quantity, value, exact, 1e-5, "closed form"))
    return rows
