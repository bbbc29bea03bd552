"""Active stress: muscle that pulls along its fibres, whatever passive law it is made of.

The first Piola–Kirchhoff stress of working muscle is the sum of the passive one and

    P_a = T_a F [(1 − η) f ⊗ f + η I],

with the fibre direction f of the rest shape, that is a second Piola–Kirchhoff stress T_a along the fibre and a share
η of it in every direction (Nash & Panfilov 2004, Prog Biophys Mol Biol 85:501; Land 2015, Proc R Soc A
471:20150641, with η = 0). At a given T_a it derives from an energy, T_a/2 [(1 − η)(I4f − 1) + η (I1 − 3)]: the
tangent stays symmetric. Active stress is put on like a load: its share grows with the load steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from solver.backend import fem, ufl
from solver.errors import SolverError

if TYPE_CHECKING:
    from solver.body import Body


@dataclass(frozen=True)
class ActiveStress:
    """Active tension along a family of fibres; a load of `Equilibrium`.

    Parameters
    ----------
    tension_kPa : float
        T_a, along the fibre, in the reference shape.
    structures : sequence of str, optional
        Structures that contract; default all.
    transverse : float
        Share η of the tension across the fibre, 0 to 1.
    family : int
        Which fibre family of the body pulls.
    """

    tension_kPa: float
    structures: Sequence[str] | None = None
    transverse: float = 0.0
    family: int = 0
    conservative = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.tension_kPa) and self.tension_kPa >= 0):
            raise SolverError(
                f"ActiveStress: the tension is {self.tension_kPa:g} kPa; muscle pulls, so it is zero or positive."
            )
        if not 0 <= self.transverse <= 1:
            raise SolverError(
                f"ActiveStress: the transverse share is {self.transverse:g}; it lies between 0 and 1."
            )

    def energy(self, F: Any, fibre: Any, tension: Any = None) -> Any:
        """Energy per reference volume in kPa, in UFL; `tension` replaces T_a by a coefficient."""
        along = F * fibre
        stretch, trace = ufl.inner(along, along) - 1, ufl.tr(F.T * F) - 3
        share = (1 - self.transverse) * stretch + self.transverse * trace
        return (self.tension_kPa if tension is None else tension) / 2 * share

    def first_piola(self, F: Any, fibre: Any, tension: Any = None) -> Any:
        """First Piola–Kirchhoff stress P_a in kPa, in UFL."""
        along = (1 - self.transverse) * ufl.outer(F * fibre, fibre) + self.transverse * F
        return (self.tension_kPa if tension is None else tension) * along

    def virtual_work(self, body: Body, u: Any, v: Any, share: fem.Constant) -> ufl.Form:
        """Virtual work done on the tissue, scaled by `share`, at displacement u in direction v."""
        if len(body.fibre_fields) <= self.family:
            raise SolverError(
                f"ActiveStress pulls along fibre family {self.family} and the body has {len(body.fibre_fields)}; "
                "give fibres with Body(organ, fibres=…)."
            )
        names = set(body.tissues if self.structures is None else self.structures)
        unknown = sorted(names - set(body.tissues))
        if unknown:
            raise SolverError(
                f"ActiveStress: the body has no structure '{unknown[0]}'; it has {', '.join(body.tissues)}."
            )
        labels = [label for label, name in body.organ.structures.items() if name in names]
        working = np.isin(body.cells_from_organ(body.organ.region), labels)
        tension = fem.Function(body.cell_space)
        tension.x.array[:] = np.where(working, self.tension_kPa, 0.0)
        F = ufl.Identity(3) + ufl.grad(u)
        stress = self.first_piola(F, body.fibre_fields[self.family], tension)
        return -share * ufl.inner(stress, ufl.grad(v)) * body.dx(metadata={"quadrature_degree": 4})
