"""Holzapfel–Ogden tissue: myocardium with fibres and sheets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from solver.backend import ufl
from solver.materials.law import Law, isochoric_invariants, not_negative, positive, stretching


@dataclass(frozen=True)
class HolzapfelOgden(Law):
    """Myocardium: W = a/(2b) exp(b (Ī1 − 3)) + Σ_{f,s} a_i/(2 b_i) (exp(b_i (I4i − 1)²) − 1)
    + a_fs/(2 b_fs) (exp(b_fs I8fs²) − 1), fibres and sheets under stretch only (Holzapfel & Ogden 2009,
    Phil Trans R Soc A 367:3445).

    Parameters
    ----------
    a_kPa, af_kPa, as_kPa, afs_kPa : float
        Matrix, fibre, sheet and their coupling; zero leaves a term out.
    b, bf, bs, bfs : float
        Their exponents.
    """

    a_kPa: float
    b: float
    af_kPa: float
    bf: float
    as_kPa: float
    bs: float
    afs_kPa: float
    bfs: float
    fibres: ClassVar[int] = 2

    def __post_init__(self) -> None:
        positive(self, b=self.b, bf=self.bf, bs=self.bs, bfs=self.bfs)
        not_negative(self, a_kPa=self.a_kPa, af_kPa=self.af_kPa, as_kPa=self.as_kPa, afs_kPa=self.afs_kPa)

    @property
    def initial_shear_kPa(self) -> float:
        """a of the matrix."""
        return self.a_kPa

    def energy(
        self, F: Any, parameters: Mapping[str, Any] | None = None, fibres: tuple[Any, ...] = ()
    ) -> Any:
        """Matrix, fibres, sheets and their coupling."""
        v = parameters or self.parameters
        along, across = F * fibres[0], F * fibres[1]
        matrix = v["a_kPa"] / (2 * v["b"]) * (ufl.exp(v["b"] * (isochoric_invariants(F)[0] - 3)) - 1)
        shear = v["afs_kPa"] / (2 * v["bfs"]) * (ufl.exp(v["bfs"] * ufl.inner(along, across) ** 2) - 1)
        fibre = stretching(ufl.inner(along, along) - 1, v["af_kPa"], v["bf"])
        sheet = stretching(ufl.inner(across, across) - 1, v["as_kPa"], v["bs"])
        return matrix + fibre + sheet + shear
