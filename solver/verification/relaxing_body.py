"""Relaxation solved by a body: the shear force of a block that is held in simple shear falls as its Prony series
(Fung 1993, Biomechanics, § 7.6), for simple shear keeps the volume and its stress is that of the law alone.
"""

from __future__ import annotations

import numpy as np

from solver.body import Body
from solver.dynamics import Dynamics
from solver.elements import ElementName
from solver.materials import Compressibility, NeoHookean, PronySeries
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block
from solver.verification.row import Row

REFERENCE = {1.0: 0.781815, 10.0: 0.510377, 100.0: 0.400014}
SHEAR_KPA, STRAIN = 2.0, 0.3


def relaxed_forces(times_s: list[float], element: ElementName = "P2-P1") -> list[float]:
    """Shear force at some times over the elastic one, for a shear put on in the first microsecond."""
    organ = kuhn_block((20, 20, 20), (2, 2, 2), {1: "block"})
    tissue = Tissue("block", NeoHookean(SHEAR_KPA), Compressibility(50 * SHEAR_KPA), 1e-6, "verification")
    series = PronySeries((0.3, 0.3), (1.0, 10.0))
    body = Body(organ, {"block": tissue}, [], (0, 0, 0))
    motion = Dynamics(body, element, relaxation=series, relaxed=False, inertia=False)
    outside = np.unique(organ.exterior)
    move = np.zeros((len(outside), 3))
    move[:, 0] = STRAIN * organ.points[outside, 2]
    top = organ.points[outside, 2] == 20
    motion.step(1e-6, (outside, move))
    forces = []
    for time_s in times_s:
        frame = motion.step(time_s - motion.time_s, (outside, move))
        forces.append(float(frame.reaction_mN[top, 0].sum()) / (SHEAR_KPA * STRAIN * 400))
    return forces


def run() -> list[Row]:
    """Relaxation at 1, 10 and 100 s, one step each."""
    forces = relaxed_forces(list(REFERENCE))
    return [
        Row.compare("relaxing body", f"G/G0 at {t:g} s", value, reference, 1e-4, "Fung 1993, § 7.6")
        for (t, reference), value in zip(REFERENCE.items(), forces, strict=True)
    ]
