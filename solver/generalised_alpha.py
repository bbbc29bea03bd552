"""The generalised-α method (Chung & Hulbert 1993, J Appl Mech 60:371): its constants, and the algebra of one step.

With the share ρ that a step leaves of the highest frequencies, α_m = (2ρ − 1)/(ρ + 1), α_f = ρ/(ρ + 1),
γ = ½ − α_m + α_f and β = ¼ (1 − α_m + α_f)². Without inertia the steps are those of the implicit Euler method.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Scheme:
    """Constants of one step, and the algebra that follows from them.

    Parameters
    ----------
    rho : float
        Share ρ of the highest frequencies that a step leaves, 0 to 1.
    inertia : bool
    dt : float
        s.
    """

    def __init__(self, rho: float, inertia: bool, dt: float) -> None:
        self.dt, self.inertia = dt, inertia
        self.am = (2 * rho - 1) / (rho + 1)
        self.af = rho / (rho + 1) if inertia else 0.0
        self.gamma = 0.5 - self.am + self.af
        self.beta = 0.25 * (1 - self.am + self.af) ** 2
        self.acceleration_slope = (1 - self.am) / ((1 - self.af) * self.beta * dt**2) if inertia else 0.0
        self.velocity_slope = self.gamma / (self.beta * dt) if inertia else 1 / dt

    def end(self, x: Array, u: Array) -> Array:
        """Displacement at the end of the step from that at the time of balance."""
        return (x - self.af * u) / (1 - self.af)

    def rates(self, moved: Array, v: Array, a: Array) -> tuple[Array, Array]:
        """Velocity and acceleration at the end of a step in which the displacement changed by `moved`."""
        if not self.inertia:
            return moved / self.dt, np.zeros_like(a)
        after = moved / (self.beta * self.dt**2) - v / (self.beta * self.dt) + (1 - 0.5 / self.beta) * a
        return v + self.dt * ((1 - self.gamma) * a + self.gamma * after), after
