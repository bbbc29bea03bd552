"""Growth of an infiltrating tumour: cells that wander and divide.

The density c of tumour cells, as a share of what tissue can hold, obeys the equation of Fisher (1937, Ann Eugen 7:355)
and Kolmogorov,

    ∂c/∂t = div(D grad c) + ρ c (1 − c),

with the diffusivity D and the proliferation ρ of each tissue (gliomas: Swanson 2000, Cell Prolif 33:317, where cells
wander five times as fast in white matter as in grey). Its front moves at 2 √(D ρ). One step is half a step of growth,
which has a closed form, a whole implicit step of wandering, and half a step of growth again (Strang 1968, SIAM J Numer
Anal 5:506): c stays between 0 and 1. Units: mm, days.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import diags_array

from anatomy.mesh import OrganMesh
from anatomy.progress import Progress, silent
from solver.diffusion import Diffusion
from solver.errors import SolverError
from solver.linear import Factor

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Proliferation:
    """How a tumour lives in one tissue.

    Parameters
    ----------
    diffusivity_mm2_day : float
        D, zero for tissue the cells do not enter.
    rate_1_day : float
        ρ.
    """

    diffusivity_mm2_day: float
    rate_1_day: float

    def __post_init__(self) -> None:
        for name in ("diffusivity_mm2_day", "rate_1_day"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise SolverError(f"Proliferation: {name} is {value:g}; it must be zero or positive.")

    @property
    def front_mm_day(self) -> float:
        """Speed of the front, 2 √(D ρ)."""
        return 2 * math.sqrt(self.diffusivity_mm2_day * self.rate_1_day)


class TumourGrowth:
    """Fisher's equation on an organ.

    Parameters
    ----------
    organ : OrganMesh
        mm; nothing leaves through its outer surface.
    tissues : mapping of structure name to Proliferation
        Structures that are missing keep the cells out.

    Raises
    ------
    SolverError
        If the organ lacks a structure, or the tumour can grow in none.
    """

    def __init__(self, organ: OrganMesh, tissues: Mapping[str, Proliferation]) -> None:
        self.organ = organ
        unknown = sorted(set(tissues) - set(organ.structures.values()))
        if unknown:
            raise SolverError(f"A tumour is given for '{unknown[0]}', which the organ does not have.")
        self._diffusion = Diffusion(organ)
        by_structure = self._diffusion.by_structure
        open_to = by_structure({n: float(t.diffusivity_mm2_day > 0) for n, t in tissues.items()})
        if not open_to.any():
            raise SolverError("The tumour can enter no tissue of the organ; give one a diffusivity.")
        self.volume_mm3 = self._diffusion.at_vertices(open_to)
        rates = by_structure({n: t.rate_1_day for n, t in tissues.items()}) * open_to
        inside = self.volume_mm3 > 0
        self._inside, self._outside = np.flatnonzero(inside), np.flatnonzero(~inside)
        self._rate = np.zeros(len(inside))
        self._rate[inside] = self._diffusion.at_vertices(rates)[inside] / self.volume_mm3[inside]
        wandering = self._diffusion.stiffness(
            by_structure({n: t.diffusivity_mm2_day for n, t in tissues.items()})
        )
        self._wandering = wandering[self._inside][:, self._inside]
        self._kept: tuple[float, Factor] | None = None

    def seed(self, centre_mm: ArrayLike, radius_mm: float, share: float = 1.0) -> Array:
        """Density at the vertices, shape (n,): a ball around a point, with a Gaussian edge."""
        if not (radius_mm > 0 and 0 < share <= 1):
            raise SolverError("A seed needs a positive radius in mm and a share between 0 and 1.")
        away = np.linalg.norm(self.organ.points - np.asarray(centre_mm, dtype=np.float64), axis=1)
        density = share * np.exp(-((away / radius_mm) ** 2))
        density[self._outside] = 0.0
        return density

    def step(self, density: Array, days: float) -> Array:
        """Density at the vertices after one step, shape (n,)."""
        if not (math.isfinite(days) and days > 0):
            raise SolverError(f"A time step is {days:g} days; it must be positive.")
        grown = self._grow(density, days / 2)
        mass = self.volume_mm3[self._inside] / days
        wandered = np.zeros_like(grown)
        wandered[self._inside] = self._factor(days).solve(mass * grown[self._inside])
        return self._grow(np.clip(wandered, 0.0, 1.0), days / 2)

    def _factor(self, days: float) -> Factor:
        """Factored step of wandering, kept while the step stays the same.

        Iterative solvers leave errors ahead of the front, and what they leave there grows exponentially.
        """
        if self._kept is None or self._kept[0] != days:
            if self._kept is not None:
                self._kept[1].destroy()
            mass = diags_array(self.volume_mm3[self._inside] / days)
            self._kept = days, Factor((mass + self._wandering).tocsr())
        return self._kept[1]

    def run(self, density: Array, days: float, step_days: float = 1.0, progress: Progress = silent) -> Array:
        """Density at the vertices after a time, shape (n,), in steps of at most `step_days`.

        A step of Δ days makes the front faster by about ρΔ/4 of its speed.
        """
        if not (days > 0 and step_days > 0):
            raise SolverError(f"Growth for {days:g} days in steps of {step_days:g}; both must be positive.")
        count = math.ceil(days / step_days - 1e-9)
        for done in range(count):
            density = self.step(density, days / count)
            progress("growing", (done + 1) / count)
        return density

    def cells_ml(self, density: Array) -> float:
        """Volume of the tumour cells, ml: the integral of the density."""
        return float(self.volume_mm3 @ density) / 1000

    def visible_ml(self, density: Array, threshold: float = 0.16) -> float:
        """Volume in which the density exceeds what a scan shows, ml.

        The default is the edge of T2-weighted MR images, 0.8 that of contrast-enhanced T1 (Swanson 2008, Br J Cancer
        98:113).
        """
        return float(self.volume_mm3[density >= threshold].sum()) / 1000

    def _grow(self, density: Array, days: float) -> Array:
        """Closed form of logistic growth."""
        factor = np.exp(self._rate * days)
        return density * factor / (1 + density * (factor - 1))
