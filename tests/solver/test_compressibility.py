import numpy as np
import pytest

from solver.body import Body
from solver.equilibrium import Equilibrium
from solver.materials import Compressibility, NeoHookean
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block


@pytest.mark.parametrize(
    ("measure", "pressure"),
    [("Simo-Taylor", lambda J: 10 / 2 * (J - 1 / J)), ("Liu", lambda J: 10 * np.log(J))],
)
@pytest.mark.parametrize("stretch", [0.9, 1.1])
def test_the_pressure_of_the_mixed_element_is_the_derivative_of_the_energy(measure, pressure, stretch):
    """A cube that is swollen or squeezed evenly: J = λ³, and no other stress."""
    organ = kuhn_block((10, 10, 10), (2, 2, 2), {1: "gel"})
    tissue = Tissue("gel", NeoHookean(1.0), Compressibility(10.0, measure), 1e-6, "a test")
    body = Body(organ, {"gel": tissue}, [], (0, 0, 0))
    boundary = np.unique(organ.exterior)
    move = (stretch - 1) * organ.points
    state = Equilibrium(body, "P2-P1").solve((boundary, move[boundary]))
    assert np.allclose(state.pressure_kPa, pressure(stretch**3), rtol=1e-8)
    assert np.allclose(state.displacement, move, atol=1e-8)
    assert state.strain_energy_uJ == pytest.approx(1000 * tissue.compressibility.energy(stretch**3), rel=1e-8)
