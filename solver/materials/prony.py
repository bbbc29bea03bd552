"""Prony series: how the stress of viscoelastic tissue relaxes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from solver.errors import SolverError
from solver.materials.law import positive


@dataclass(frozen=True)
class PronySeries:
    """Relaxation of quasi-linear viscoelastic tissue: G(t)/G0 = 1 − Σ g_i (1 − exp(−t/τ_i)) (Fung 1993,
    Biomechanics, § 7.6).

    Parameters
    ----------
    weights : tuple of float
        g_i, positive, together less than one.
    times_s : tuple of float
        τ_i in seconds.
    """

    weights: tuple[float, ...]
    times_s: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.times_s) or not self.weights:
            raise SolverError("PronySeries: give as many weights as times, and at least one.")
        positive(self, **{f"g{i + 1}": g for i, g in enumerate(self.weights)})
        positive(self, **{f"τ{i + 1}": t for i, t in enumerate(self.times_s)})
        if not sum(self.weights) < 1:
            raise SolverError(
                f"PronySeries: the weights add up to {sum(self.weights):g}; below one some stiffness stays."
            )

    def relaxation(self, time_s: float) -> float:
        """G(t)/G0 after a step of strain."""
        pairs = zip(self.weights, self.times_s, strict=True)
        return 1.0 - sum(g * (1.0 - math.exp(-time_s / t)) for g, t in pairs)

    def advance(self, history: list[Any], step: Any, elapsed_s: float) -> list[Any]:
        """Stress kept by each branch after a time step in which the instantaneous stress changed by `step`.

        Exact for a stress that changes linearly over the step (Taylor 1970, Int J Numer Methods Eng 2:45;
        Simo 1987): h_i ← exp(−Δt/τ_i) h_i + g_i (1 − exp(−Δt/τ_i)) τ_i/Δt step. The total is (1 − Σ g_i)
        times the instantaneous stress plus Σ h_i.
        """
        new = []
        for kept, g, t in zip(history, self.weights, self.times_s, strict=True):
            decay = math.exp(-elapsed_s / t)
            new.append(decay * kept + g * (1.0 - decay) * t / elapsed_s * step)
        return new
