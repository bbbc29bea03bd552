"""Weight: the stress-free shape of a scanned organ, loaded by its weight, is the scanned one again."""

from __future__ import annotations

import numpy as np

from solver.body import Body
from solver.elements import ElementName
from solver.equilibrium import Equilibrium
from solver.unloaded import unload
from solver.verification.blocks import kuhn_block
from solver.verification.row import Row

TOLERANCE_MM = 1e-3


def off_the_scan(element: ElementName) -> tuple[float, float]:
    """Distance of the reloaded shape from the scanned one, and its sag, both the largest of any vertex, mm."""
    free = unload(Body(kuhn_block((80, 60, 60), (4, 3, 3))), element, tolerance_mm=TOLERANCE_MM / 2)
    state = Equilibrium(free, element).solve()
    off, sag = (
        float(np.linalg.norm(move, axis=1).max()) for move in (state.displacement, free.scanned_displacement)
    )
    return off, sag


def run() -> list[Row]:
    """Round trips with the live and the reference element."""
    rows = []
    for element in ("P1-averaged", "P2-P1"):
        off, sag = off_the_scan(element)
        quantity = f"{element}, sag {sag:.2f} mm: reloaded shape off the scanned one (mm)"
        rows.append(Row.compare("weight", quantity, off, 0.0, TOLERANCE_MM, "equilibrium"))
    return rows
