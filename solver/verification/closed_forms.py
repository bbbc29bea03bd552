"""Laws at a point, against what follows from their energies on paper (Treloar 1975; Holzapfel & Ogden 2009)."""

from __future__ import annotations

import numpy as np

from solver.materials import (
    FungDemiray,
    Guccione,
    HolzapfelGasserOgden,
    HolzapfelOgden,
    MooneyRivlin,
    NeoHookean,
    Ogden,
    SaintVenantKirchhoff,
)
from solver.verification.point import first_piola, incompressible_stress
from solver.verification.row import Row

EXACT = "closed form"


def run() -> list[Row]:
    """Uniaxial, equibiaxial, planar and simple-shear stress; fibre stress of the myocardium; one row a further law."""
    return [*_stretches(), *_simple_shear(), *_fibre(), *_other_isotropic(), *_other_fibrous()]


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


def _pulled(stretch: float) -> np.ndarray:
    """Uniaxial stretch without change of volume."""
    return np.diag([stretch, stretch**-0.5, stretch**-0.5])


def _other_isotropic() -> list[Row]:
    """Ogden, Fung–Demiray and Saint Venant–Kirchhoff at stretch 1.4."""
    s, first = 1.4, 1.4**2 + 2 / 1.4
    quantity = "uniaxial P11 at stretch 1.4 (kPa)"
    terms = ((0.842, -4.7), (0.3, 1.3))
    exact = sum(2 * m / a * (s ** (a - 1) - s ** (-a / 2 - 1)) for m, a in terms)
    moduli, exponents = zip(*terms, strict=True)
    value = incompressible_stress(Ogden(moduli, exponents), _pulled(s), 2)[0][0, 0]
    rows = [Row.compare("Ogden, two terms", quantity, value, exact, 1e-8, EXACT)]
    exact = 2.0 * np.exp(3.0 * (first - 3)) * (s - s**-2)
    value = incompressible_stress(FungDemiray(2.0, 3.0), _pulled(s), 2)[0][0, 0]
    rows.append(Row.compare("Fung–Demiray", quantity, value, exact, 1e-8, EXACT))
    exact = s * (3.0 + 2 * 2.0) * (s**2 - 1) / 2
    value = first_piola(SaintVenantKirchhoff(3.0, 2.0), np.diag([s, 1, 1]))[0, 0]
    name = "confined P11 at stretch 1.4 (kPa)"
    rows.append(Row.compare("Saint Venant–Kirchhoff", name, value, exact, 1e-8, EXACT))
    return rows


def _other_fibrous() -> list[Row]:
    """Guccione and Holzapfel–Gasser–Ogden along their fibres; Holzapfel–Ogden in shear."""
    C, bf, bt, s = 0.876, 18.48, 3.58, 1.15
    along, across = (s**2 - 1) / 2, (1 / s - 1) / 2
    exact = C / 2 * np.exp(bf * along**2 + 2 * bt * across**2) * (2 * bf * along * s - 2 * bt * across / s**2)
    x, y = [1.0, 0, 0], [0, 1.0, 0]
    value = incompressible_stress(Guccione(C, bf, bt, 1.627), _pulled(s), 2, [x])[0][0, 0]
    rows = [Row.compare("Guccione", "P11 along the fibre at stretch 1.15 (kPa)", value, exact, 1e-8, EXACT)]
    c, k1, k2, kappa, s = 3.0, 2.3632, 0.8393, 0.1, 1.2
    strain = kappa * (s**2 + 2 / s - 3) + (1 - 3 * kappa) * (s**2 - 1)
    slope = kappa * (2 * s - 2 / s**2) + (1 - 3 * kappa) * 2 * s
    exact = c * (s - s**-2) + 2 * k1 * strain * np.exp(k2 * strain**2) * slope
    value = incompressible_stress(HolzapfelGasserOgden(c, k1, k2, kappa), _pulled(s), 2, (x, x))[0][0, 0]
    quantity = "κ = 0.1: P11 along the fibres at stretch 1.2 (kPa)"
    rows.append(Row.compare("Holzapfel–Gasser–Ogden", quantity, value, exact, 1e-8, EXACT))
    law, shear = HolzapfelOgden(0.059, 8.023, 18.472, 16.026, 2.481, 11.12, 0.216, 11.436), 0.3
    F = np.eye(3)
    F[1, 0] = shear
    exact = shear * (
        law.a_kPa * np.exp(law.b * shear**2)
        + 2 * law.af_kPa * shear**2 * np.exp(law.bf * shear**4)
        + law.afs_kPa * np.exp(law.bfs * shear**2)
    )
    value = (first_piola(law, F, (x, y)) @ F.T)[0, 1]
    quantity = "σ of fibre and sheet at a shear of 0.3 (kPa)"
    source = "Holzapfel & Ogden 2009, mode (fs)"
    rows.append(Row.compare("Holzapfel–Ogden", quantity, value, exact, 1e-8, source))
    return rows
