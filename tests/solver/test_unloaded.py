import numpy as np
import pytest

from solver.body import Body
from solver.equilibrium import Equilibrium
from solver.errors import SolverError
from solver.unloaded import unload
from solver.verification.blocks import kuhn_block


def test_reloading_the_stress_free_shape_gives_the_scan_back():
    organ = kuhn_block((160, 100, 100), (5, 3, 3))
    body = Body(organ)
    free = unload(body)
    assert np.abs(free.scanned_displacement).max() > 1.0
    assert np.allclose(free.reference_points + free.scanned_displacement, organ.points)
    state = Equilibrium(free, "P1-averaged").solve()
    assert np.linalg.norm(state.displacement, axis=1).max() < 0.01
    assert np.allclose(state.from_reference, free.scanned_displacement, atol=0.01)


def test_without_gravity_the_scan_is_stress_free():
    body = Body(kuhn_block((40, 20, 20), (2, 1, 1)), gravity_mm_s2=(0, 0, 0))
    assert unload(body) is body


def test_a_shape_that_does_not_settle_is_refused():
    body = Body(kuhn_block((160, 100, 100), (4, 2, 2)))
    with pytest.raises(SolverError, match="did not settle in 1 step"):
        unload(body, element="P2", iterations=1)


def test_every_element_rests_in_the_scan():
    organ = kuhn_block((80, 60, 60), (3, 2, 2))
    free = unload(Body(organ), element="P2")
    state = Equilibrium(free, "P2").solve()
    assert np.linalg.norm(state.displacement, axis=1).max() < 0.01
