"""What the heart pumps against: the arteries as a lumped circuit.

The three-element Windkessel (Westerhof 1971; reviewed in Westerhof, Lankhaar & Westerhof 2009, Med Biol Eng Comput
47:131) has the characteristic impedance Z of the aorta in series with the compliance C of the arteries, which empty
through the peripheral resistance R:

    P = Z Q + p,    C dp/dt = Q − p/R.

Under a constant flow the pressure approaches Q (Z + R) with the time constant R C. Units: kPa, ml, s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from solver.errors import SolverError


@dataclass(frozen=True)
class Windkessel:
    """Three-element Windkessel.

    Parameters
    ----------
    resistance_kPa_s_ml : float
        Peripheral resistance R.
    compliance_ml_kPa : float
        Arterial compliance C.
    impedance_kPa_s_ml : float
        Characteristic impedance Z; zero leaves the two-element Windkessel.
    """

    resistance_kPa_s_ml: float
    compliance_ml_kPa: float
    impedance_kPa_s_ml: float = 0.0

    def __post_init__(self) -> None:
        for name in ("resistance_kPa_s_ml", "compliance_ml_kPa", "impedance_kPa_s_ml"):
            value = getattr(self, name)
            least = 0 if name.startswith("impedance") else math.ulp(0.0)
            if not (math.isfinite(value) and value >= least):
                raise SolverError(f"Windkessel: {name} is {value:g}; it must be positive (Z may be zero).")

    @property
    def time_constant_s(self) -> float:
        """R C."""
        return self.resistance_kPa_s_ml * self.compliance_ml_kPa

    def pressure(self, stored_kPa: float, flow_ml_s: float) -> float:
        """Pressure at the root of the aorta, kPa, from that of the compliance and the flow."""
        return stored_kPa + self.impedance_kPa_s_ml * flow_ml_s

    def advance(self, stored_kPa: float, before_ml_s: float, after_ml_s: float, seconds: float) -> float:
        """Pressure of the compliance after a step in which the flow changes linearly, kPa; exact for such a flow.

        Parameters
        ----------
        stored_kPa : float
            Pressure p of the compliance at the start.
        before_ml_s, after_ml_s : float
            Flow at the start and at the end of the step.
        seconds : float
            Length of the step.
        """
        if not (math.isfinite(seconds) and seconds > 0):
            raise SolverError(f"A time step is {seconds:g} s; it must be positive.")
        R, tau = self.resistance_kPa_s_ml, self.time_constant_s
        slope = (after_ml_s - before_ml_s) / seconds
        # A flow a + b t has the particular solution R (a − b τ + b t); the rest decays.
        start, end = R * (before_ml_s - slope * tau), R * (after_ml_s - slope * tau)
        return end + (stored_kPa - start) * math.exp(-seconds / tau)
