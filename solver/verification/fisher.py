"""Fisher's front: a tumour that wanders and divides advances at 2 √(D ρ) (Fisher 1937; Kolmogorov 1937).

A seed at one end of a long bar; the speed is that of the place where c = ½, once the front has settled: it falls short
of the limit by a share of 3/(4 ρ t) (Bramson 1983, Mem Am Math Soc 285).
"""

from __future__ import annotations

import numpy as np

from solver.growth import Proliferation, TumourGrowth
from solver.verification.blocks import kuhn_block
from solver.verification.row import Row

TUMOUR = Proliferation(diffusivity_mm2_day=0.13, rate_1_day=0.025)


def front_speed(length_mm: float = 400.0, edge_mm: float = 0.5, step_days: float = 2.0) -> float:
    """Speed of the front between days 2000 and 3000, mm/day."""
    organ = kuhn_block((length_mm, edge_mm, edge_mm), (round(length_mm / edge_mm), 1, 1), {1: "brain"})
    growth = TumourGrowth(organ, {"brain": TUMOUR})
    density = growth.run(growth.seed((0, 0, 0), 5.0), 2000.0, step_days)
    later = growth.run(density, 1000.0, step_days)
    return (_front(organ.points[:, 0], later) - _front(organ.points[:, 0], density)) / 1000.0


def _front(x: np.ndarray, density: np.ndarray) -> float:
    """Where the mean density over a cross-section is one half, mm."""
    places, row = np.unique(x, return_inverse=True)
    mean = np.bincount(row, density) / np.bincount(row)
    last = int(np.flatnonzero(mean >= 0.5)[-1])
    return float(np.interp(0.5, mean[[last + 1, last]], places[[last + 1, last]]))


def run() -> list[Row]:
    """Speed of the front."""
    quantity = "speed of the front, D = 0.13 mm²/day, ρ = 0.025/day (mm/day)"
    return [Row.compare("Fisher front", quantity, front_speed(), 0.1140, 0.03, "2 √(D ρ)")]
