"""Elastic constants: laws and compressibilities from the numbers that experiments report.

Small strains of an isotropic solid have two constants. Young's modulus E and Poisson's ratio ν give the shear modulus
µ = E / (2 (1 + ν)) and the bulk modulus K = E / (3 (1 − 2ν)), which has no value at ν = ½ (Holzapfel 2000, § 6.5).
"""

from __future__ import annotations

import math

from solver.errors import SolverError
from solver.materials import Compressibility, Law, NeoHookean

# Above this ratio of bulk to shear modulus (ν = 0.49995) linear and quadratic displacements lock.
LOCKING_RATIO = 1e4


def neo_hookean(young_kPa: float, poisson: float) -> tuple[NeoHookean, Compressibility]:
    """Law and compressibility of Young's modulus and Poisson's ratio at small strains.

    Parameters
    ----------
    young_kPa : float
        E, kPa.
    poisson : float
        ν, above −1 and below ½.

    Raises
    ------
    SolverError
        If one is out of range; at ν ≥ ½ there is no bulk modulus for a displacement form to resist with.
    """
    if not (math.isfinite(young_kPa) and young_kPa > 0):
        raise SolverError(f"Young's modulus is {young_kPa:g} kPa; it must be positive.")
    if not poisson > -1:
        raise SolverError(f"Poisson's ratio is {poisson:g}; it lies between −1 and ½.")
    if poisson >= 0.5:
        raise SolverError(
            f"Poisson's ratio is {poisson:g}, which has no bulk modulus: a displacement form cannot be "
            "incompressible; take 0.49, or up to 0.4999 with element 'P2-P1'."
        )
    return NeoHookean(young_kPa / (2 * (1 + poisson))), Compressibility(young_kPa / (3 * (1 - 2 * poisson)))


def check_no_locking(tissue: str, law: Law, compressibility: Compressibility | None, element: str) -> None:
    """Refuse a tissue that is too nearly incompressible for elements that have displacements alone.

    Raises
    ------
    SolverError
        Names the tissue, its Poisson's ratio, and the element to use.
    """
    if compressibility is None or element not in ("P1", "P2"):
        return
    ratio = compressibility.bulk_kPa / law.initial_shear_kPa
    if ratio > LOCKING_RATIO:
        poisson = (3 * ratio - 2) / (2 * (3 * ratio + 1))
        raise SolverError(
            f"The tissue '{tissue}' has Poisson's ratio {poisson:.6g} (K/µ = {ratio:.3g}), with which the "
            f"displacement element '{element}' locks; use element 'P2-P1', or a smaller bulk modulus."
        )
