"""Mooney–Rivlin tissue: linear in both invariants of the stretch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from solver.materials.law import Law, isochoric_invariants, not_negative, positive


@dataclass(frozen=True)
class MooneyRivlin(Law):
    """Mooney–Rivlin: W = c1 (Ī1 − 3) + c2 (Ī2 − 3) (Mooney 1940, J Appl Phys 11:582; Rivlin 1948).

    Parameters
    ----------
    c1_kPa, c2_kPa : float
        Constants; the initial shear modulus 2 (c1 + c2) must be positive and neither may be negative.
    """

    c1_kPa: float
    c2_kPa: float

    def __post_init__(self) -> None:
        not_negative(self, c1_kPa=self.c1_kPa, c2_kPa=self.c2_kPa)
        positive(self, **{"c1 + c2": self.c1_kPa + self.c2_kPa})

    @property
    def initial_shear_kPa(self) -> float:
        """2 (c1 + c2)."""
        return 2 * (self.c1_kPa + self.c2_kPa)

    def energy(
        self, F: Any, parameters: Mapping[str, Any] | None = None, fibres: tuple[Any, ...] = ()
    ) -> Any:
        """c1 (Ī1 − 3) + c2 (Ī2 − 3)."""
        values = parameters or self.parameters
        first, second = isochoric_invariants(F)
        return values["c1_kPa"] * (first - 3) + values["c2_kPa"] * (second - 3)
