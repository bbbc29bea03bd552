"""Frame: one answer of the live tier, with how far it is from the converged one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Progressing = Literal["converged", "approaching", "stale"]


@dataclass(frozen=True, eq=False)
class Frame:
    """A state of the tissue at one instant.

    Parameters
    ----------
    displacement : ndarray, shape (n, 3), float32
        Of the organ's vertices from the scanned shape, OrganMesh order, mm, LPS.
    time_s : float
        Time of the rehearsal, s.
    forces_N : mapping of str to ndarray, shape (3,)
        Force with which each tool pulls the tissue, N, LPS; the tissue pulls the tool with the opposite.
    residual : float
        Out-of-balance force relative to the forces in play.
    distance_mm : float
        Estimated distance of the farthest vertex to the converged state, mm: the length of the next quasi-Newton
        step. Where the tissue buckles the tangent is stiffened to stay definite, and it is a lower bound only.
    mean_distance_mm : float
        The same, mean over all vertices.
    state : {"converged", "approaching", "stale"}
        Converged: the distance is below `solver.interactive.CONVERGED_MM`. Stale: iterations no longer help.
    iterations : int
        Quasi-Newton iterations of this step.
    seconds : float
        Wall time of this step.
    minimum_jacobian : float
        Smallest volume ratio of a tetrahedron; always positive.
    topology : int
        Which mesh the displacement belongs to: 0 for the one it all began with, another number for every other one.
    computed_s : float
        When it was computed, on the system's monotonic clock, s.
    """

    displacement: NDArray[np.float32]
    time_s: float
    forces_N: Mapping[str, NDArray[np.float64]]
    residual: float
    distance_mm: float
    mean_distance_mm: float
    state: Progressing
    iterations: int
    seconds: float
    minimum_jacobian: float
    topology: int = 0
    computed_s: float = field(default_factory=time.monotonic)

    @property
    def age_s(self) -> float:
        """Time since it was computed, s."""
        return time.monotonic() - self.computed_s
