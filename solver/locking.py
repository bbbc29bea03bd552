"""Locking: tissue too nearly incompressible for elements that interpolate displacements alone.

Linear and quadratic tetrahedra cannot keep every volume and still bend; the larger the bulk modulus, the stiffer they
answer (Hughes 2000, The Finite Element Method, § 4.4). Near ν = ½ such an answer is wrong rather than inaccurate.
"""

from __future__ import annotations

from solver.errors import SolverError
from solver.tissues import Tissue

# Largest ratio of bulk to shear modulus, at ν = 0.49995.
LARGEST_RATIO = 1e4


def check_no_locking(tissue: Tissue, element: str) -> None:
    """Refuse a tissue that is too nearly incompressible for an element that has displacements alone.

    Raises
    ------
    SolverError
        Names the tissue, its Poisson's ratio, and the element to use.
    """
    if tissue.compressibility is None or element not in ("P1", "P2"):
        return
    ratio = tissue.compressibility.bulk_kPa / tissue.law.initial_shear_kPa
    if ratio > LARGEST_RATIO:
        poisson = (3 * ratio - 2) / (2 * (3 * ratio + 1))
        raise SolverError(
            f"The tissue '{tissue.name}' has Poisson's ratio {poisson:.6g} (K/µ = {ratio:.3g}), with which the "
            f"displacement element '{element}' locks; use element 'P2-P1', or a smaller bulk modulus."
        )
