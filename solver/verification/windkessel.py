"""Three-element Windkessel under a constant flow: it settles at Q (Z + R) with the time constant R C."""

from __future__ import annotations

import math

from solver.heart import Windkessel
from solver.verification.row import Row

MODEL = Windkessel(resistance_kPa_s_ml=0.12, compliance_ml_kPa=11.0, impedance_kPa_s_ml=0.007)
FLOW_ML_S = 90.0
STEP_S = 0.01


def stepped(time_s: float) -> float:
    """Pressure of the compliance after a time under the constant flow, kPa, from zero."""
    stored = 0.0
    for _ in range(round(time_s / STEP_S)):
        stored = MODEL.advance(stored, FLOW_ML_S, FLOW_ML_S, STEP_S)
    return stored


def run() -> list[Row]:
    """Pressure at the end, and the time constant."""
    settled = MODEL.pressure(stepped(40 * MODEL.time_constant_s), FLOW_ML_S)
    limit = FLOW_ML_S * (MODEL.impedance_kPa_s_ml + MODEL.resistance_kPa_s_ml)
    rest = limit - MODEL.pressure(stepped(2.0), FLOW_ML_S)
    tau = -2.0 / math.log(rest / (FLOW_ML_S * MODEL.resistance_kPa_s_ml))
    name, source = "Windkessel", "closed form"
    return [
        Row.compare(name, "pressure under a constant flow (kPa)", settled, limit, 1e-6, source),
        Row.compare(name, "time constant (s)", tau, MODEL.time_constant_s, 1e-6, source),
    ]
