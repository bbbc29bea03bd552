"""Saint Venant–Kirchhoff tissue: Hooke's law in the Green strain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from solver.backend import ufl
from solver.errors import SolverError
from solver.materials.law import Law, positive


@dataclass(frozen=True)
class SaintVenantKirchhoff(Law):
    """Saint Venant–Kirchhoff: W = λ/2 tr(E)² + µ E:E with E = (FᵀF − I)/2 (Holzapfel 2000, § 6.5).

    Carries its own resistance to volume change, so no `Compressibility` is added. It softens without bound in
    compression: for small strains only.

    Parameters
    ----------
    lambda_kPa, mu_kPa : float
        Lamé constants.
    """

    lambda_kPa: float
    mu_kPa: float
    isochoric: ClassVar[bool] = False

    def __post_init__(self) -> None:
        positive(self, mu_kPa=self.mu_kPa)
        if not self.lambda_kPa > -2 / 3 * self.mu_kPa:
            raise SolverError(
                f"SaintVenantKirchhoff: λ = {self.lambda_kPa:g} kPa gives no positive bulk modulus; "
                "it must exceed −2µ/3."
            )

    @property
    def initial_shear_kPa(self) -> float:
        """µ."""
        return self.mu_kPa

    def energy(
        self, F: Any, parameters: Mapping[str, Any] | None = None, fibres: tuple[Any, ...] = ()
    ) -> Any:
        """λ/2 tr(E)² + µ E:E."""
        values = parameters or self.parameters
        E = (F.T * F - ufl.Identity(3)) / 2
        return values["lambda_kPa"] / 2 * ufl.tr(E) ** 2 + values["mu_kPa"] * ufl.inner(E, E)
