"""Laws at a point, against what follows from their energies on paper (Treloar 1975; Holzapfel & Ogden 2009)."""

from __future__ import annotations

import numpy as np

from solver.materials import HolzapfelOgden, MooneyRivlin, NeoHookean
from solver.verification.point import incompressible_stress
from solver.verification.row import Row

EXACT = "closed form"


def run() -> list[Row]:
    """Uniaxial, equibiaxial, planar and simple-shear stress; fibre stress of the myocardium."""
    return [*_stretches(), *_simple_shear(), *_fibre()]


def _stretches() -> list[Row]:
    rows = []
    law, stretch = NeoHookean(1.0), 2.0
    cases = {
        "uniaxial": (np.diag([stretch, stretch**-0.5, stretch**-0.5]), 1.75),
        "equibiaxial": (np.diag([stretch, stretch, stretch**-2]), 1.96875),
        "planar": (np.diag([stretch, 1.0, 1 / stretch]), 1.875),
    }
    for name, (F, reference) in cases.items():
        value = incompressible_stress(law, F, free=2)[0][0, 0]
        rows.append(
            Row.compare("neo-Hookean", f"{name} P11 at stretch 2 (kPa)", value, reference, 1e-8, EXACT)
        )
    F = np.diag([1.5, 1.5**-0.5, 1.5**-0.5])
    value = incompressible_stress(MooneyRivlin(0.25, 0.25), F, free=2)[0][0, 0]
    rows.append(
        Row.compare("Mooney–Rivlin", "uniaxial P11 at stretch 1.5 (kPa)", value, 0.879630, 1e-6, EXACT)
    )
    return rows


def _simple_shear() -> list[Row]:
    shear, mu = 0.4, 2.0
    F = np.eye(3)
    F[0, 1] = shear
    cauchy = incompressible_stress(NeoHookean(mu), F, free=2)[1]
    difference = cauchy[0, 0] - cauchy[1, 1]
    return [
        Row.compare("neo-Hookean simple shear", "σ12 (kPa)", cauchy[0, 1], mu * shear, 1e-8, EXACT),
        Row.compare("neo-Hookean simple shear", "σ11 − σ22 (kPa)", difference, mu * shear**2, 1e-8, EXACT),
    ]


def _fibre() -> list[Row]:
    """Matrix and fibre family of the published myocardium, along the fibre."""
    law = HolzapfelOgden(0.059, 8.023, 18.472, 16.026, 0.0, 11.12, 0.0, 11.436)
    rows = []
    for stretch, reference in ((1.05, 4.7142), (1.10, 17.322)):
        F = np.diag([stretch, stretch**-0.5, stretch**-0.5])
        value = incompressible_stress(law, F, 2, ([1, 0, 0], [0, 1, 0]))[0][0, 0]
        quantity = f"P11 along the fibre at stretch {stretch} (kPa)"
        rows.append(Row.compare("Holzapfel–Ogden", quantity, value, reference, 1e-4, EXACT))
    return rows
