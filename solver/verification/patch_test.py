"""Patch test: an affine displacement of the boundary moves every inner vertex with it, on any mesh (Irons 1965).

A brick of several labelled regions, its inner vertices shaken at random, is deformed by its boundary; every
element must reproduce the affine field to rounding. A second brick of two layers, the soft one a thousandth
as stiff, is compressed between sliding walls: there the exact field is affine in each layer, and the two
stresses are equal.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from anatomy.mesh import OrganMesh
from solver.body import Body
from solver.elements import ElementName
from solver.equilibrium import Equilibrium
from solver.materials import Compressibility, NeoHookean
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block
from solver.verification.row import Row

GRADIENT = np.array([[0.10, 0.05, -0.04], [0.02, -0.08, 0.06], [-0.03, 0.07, 0.05]])
STILL = (0.0, 0.0, 0.0)
ELEMENTS: tuple[ElementName, ...] = ("P1", "P1-averaged", "P2", "P1-P1", "P2-P1")


def _shaken(seed: int = 7) -> OrganMesh:
    """A brick of three regions whose inner vertices are moved by up to a fifth of an edge."""
    organ = kuhn_block(
        (30, 20, 20), (6, 4, 4), {1: "a", 2: "b", 3: "c"}, lambda c: (1 + c[:, 0] // 10).astype(np.uint8)
    )
    inner = np.setdiff1d(np.arange(len(organ.points)), organ.exterior)
    points = organ.points.copy()
    points[inner] += np.random.default_rng(seed).uniform(-1, 1, (len(inner), 3))
    return OrganMesh(points, organ.tets, organ.region, organ.structures)


def _tissue(name: str, mu_kPa: float, bulk_kPa: float) -> Tissue:
    return Tissue(name, NeoHookean(mu_kPa), Compressibility(bulk_kPa), 1e-6, "verification")


def run() -> list[Row]:
    """Largest departure from the exact field, mm."""
    organ = _shaken()
    body = Body(organ, {name: _tissue(name, 2.0, 100.0) for name in "abc"}, [], STILL)
    boundary = np.unique(organ.exterior)
    exact = organ.points @ GRADIENT.T
    rows = []
    for name in ELEMENTS:
        state = Equilibrium(body, name).solve((boundary, exact[boundary]))
        error = float(np.abs(state.displacement - exact).max())
        quantity = f"{name}: largest error of an affine field (mm)"
        rows.append(Row.compare("patch test", quantity, error, 0.0, 1e-10, "exact"))
    return [*rows, *_layers()]


def _layers() -> list[Row]:
    soft, stiff, squeeze = _tissue("soft", 2.0, 100.0), _tissue("stiff", 2000.0, 100000.0), 1.0
    organ = kuhn_block(
        (8, 8, 20),
        (4, 4, 10),
        {1: "soft", 2: "stiff"},
        lambda c: np.where(c[:, 2] < 10, 1, 2).astype(np.uint8),
    )
    body = Body(organ, {"soft": soft, "stiff": stiff}, [], STILL)
    vertices, move = _confined(organ.points, -squeeze)
    exact = _layered(organ.points[:, 2], squeeze)
    rows = []
    # Mixed elements are left out: their pressure is continuous across the layers, and the exact one is not.
    for name in ELEMENTS[:3]:
        state = Equilibrium(body, name).solve((vertices, move))
        error = float(np.abs(state.displacement[:, 2] - exact).max())
        quantity = f"{name}: largest error in two layers, stiffness 1:1000 (mm)"
        rows.append(Row.compare("patch test", quantity, error, 0.0, 1e-10, "exact"))
    return rows


def _confined(points: NDArray[np.float64], by_mm: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Walls that slide, a fixed floor and a roof that moves."""
    high = points.max(axis=0)
    move = np.full(points.shape, np.nan)
    for axis in (0, 1):
        move[(points[:, axis] == 0) | (points[:, axis] == high[axis]), axis] = 0.0
    move[points[:, 2] == 0, 2] = 0.0
    move[points[:, 2] == high[2], 2] = by_mm
    vertices = np.flatnonzero(np.isfinite(move).any(axis=1))
    return vertices, move[vertices]


def _stress(stretch: float, mu: float, bulk: float) -> float:
    """P33 of F = diag(1, 1, λ) for µ/2 (J^(-2/3) I1 − 3) + K/2 (J − 1)², J = λ."""
    first = 2 + stretch**2
    return mu / 2 * (2 * stretch ** (1 / 3) - 2 / 3 * stretch ** (-5 / 3) * first) + bulk * (stretch - 1)


def _layered(z: NDArray[np.float64], squeeze: float) -> NDArray[np.float64]:
    """Exact displacement: the soft layer takes what leaves both stresses equal."""

    def gap(soft_share: float) -> float:
        soft, stiff = 1 - soft_share * squeeze / 10, 1 - (1 - soft_share) * squeeze / 10
        return _stress(soft, 2.0, 100.0) - _stress(stiff, 2000.0, 100000.0)

    share = float(brentq(gap, 0.5, 1.0, xtol=1e-15))
    below = -share * squeeze * z / 10
    return np.where(z <= 10, below, -share * squeeze - (1 - share) * squeeze * (z - 10) / 10)
