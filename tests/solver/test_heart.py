import math

import pytest

from solver.errors import SolverError
from solver.heart import Windkessel

ARTERIES = Windkessel(resistance_kPa_s_ml=0.12, compliance_ml_kPa=11.0, impedance_kPa_s_ml=0.007)


def test_arteries_empty_exponentially_between_beats():
    stored = ARTERIES.advance(12.0, 0.0, 0.0, 0.8)
    assert stored == pytest.approx(12.0 * math.exp(-0.8 / 1.32))


def test_a_ramp_of_flow_is_exact_in_one_step():
    """Against many small steps of constant flow."""
    stored, steps = 10.0, 20000
    for k in range(steps):
        flow = 100.0 * (k + 0.5) / steps
        stored = ARTERIES.advance(stored, flow, flow, 1.0 / steps)
    assert ARTERIES.advance(10.0, 0.0, 100.0, 1.0) == pytest.approx(stored, rel=1e-8)


def test_impedance_adds_pressure_while_blood_flows():
    assert ARTERIES.pressure(10.0, 300.0) == pytest.approx(12.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Windkessel(0.0, 1.0), "resistance_kPa_s_ml is 0"),
        (lambda: Windkessel(1.0, float("nan")), "compliance_ml_kPa is nan"),
        (lambda: Windkessel(1.0, 1.0, -0.1), "impedance_kPa_s_ml is -0.1"),
        (lambda: ARTERIES.advance(1.0, 1.0, 1.0, 0.0), "time step is 0"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(SolverError, match=message):
        make()
