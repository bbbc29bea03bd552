"""Guccione tissue: one fibre direction, exponential in the Green strain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from solver.backend import ufl
from solver.materials.law import Law, positive


@dataclass(frozen=True)
class Guccione(Law):
    """Transversely isotropic Fung-type law: W = C/2 (exp Q − 1),
    Q = bf Eff² + bt (Ess² + Enn² + 2 Esn²) + 2 bfs (Efs² + Efn²), with the Green strain E of the isochoric C̄
    (Guccione 1991, J Biomech Eng 113:42; isochoric split as in Land 2015, Proc R Soc A 471:20150641).

    Without the split the incompressible law stalls at a third of a physiological load on every mesh.

    Parameters
    ----------
    C_kPa : float
    bf, bt, bfs : float
        Along the fibre, across it, and in shear between.
    """

    C_kPa: float
    bf: float
    bt: float
    bfs: float
    fibres: ClassVar[int] = 1

    def __post_init__(self) -> None:
        positive(self, C_kPa=self.C_kPa, bf=self.bf, bt=self.bt, bfs=self.bfs)

    @property
    def initial_shear_kPa(self) -> float:
        """C/2 times the largest exponent."""
        return self.C_kPa / 2 * max(self.bf, self.bt, self.bfs)

    def energy(
        self, F: Any, parameters: Mapping[str, Any] | None = None, fibres: tuple[Any, ...] = ()
    ) -> Any:
        """C/2 (exp Q − 1), Q written with the fibre direction alone."""
        values = parameters or self.parameters
        E = (ufl.det(F) ** (-2 / 3) * F.T * F - ufl.Identity(3)) / 2
        along = E * fibres[0]
        ff, row = ufl.inner(fibres[0], along), ufl.inner(along, along)
        across = ufl.inner(E, E) - 2 * row + ff**2
        Q = values["bf"] * ff**2 + values["bt"] * across + 2 * values["bfs"] * (row - ff**2)
        return values["C_kPa"] / 2 * (ufl.exp(Q) - 1)
