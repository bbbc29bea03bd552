"""Neo-Hookean tissue: the energy of a rubber network, and the first guess for every soft organ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from solver.materials.law import Law, isochoric_invariants, positive


@dataclass(frozen=True)
class NeoHookean(Law):
    """Neo-Hookean: W = µ/2 (Ī1 − 3) (Treloar 1943, Trans Faraday Soc 39:241; Rivlin 1948).

    Parameters
    ----------
    mu_kPa : float
        Shear modulus.
    """

    mu_kPa: float

    def __post_init__(self) -> None:
        positive(self, mu_kPa=self.mu_kPa)

    @property
    def initial_shear_kPa(self) -> float:
        """µ."""
        return self.mu_kPa

    def energy(
        self, F: Any, parameters: Mapping[str, Any] | None = None, fibres: tuple[Any, ...] = ()
    ) -> Any:
        """µ/2 (Ī1 − 3)."""
        mu = (parameters or self.parameters)["mu_kPa"]
        return mu / 2 * (isochoric_invariants(F)[0] - 3)
