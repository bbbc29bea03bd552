import numpy as np
import pytest

from solver.attachments import Attachment
from solver.body import Body
from solver.contact import Contact
from solver.equilibrium import Equilibrium
from solver.errors import SolverError
from solver.ligaments import Ligament
from solver.loads import Traction
from solver.rigid import Plane
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
    for element in ("P1-averaged", "P2"):
        with pytest.raises(
            SolverError, match=r"No stress-free shape was found in 1 iterations .* mm\); stiffen"
        ):
            unload(body, element=element, tolerance_mm=1e-9, iterations=1)


@pytest.mark.parametrize("element", ["P1", "P2", "P2-P1"])
def test_every_element_rests_in_the_scan(element):
    organ = kuhn_block((80, 60, 60), (3, 2, 2))
    free = unload(Body(organ), element=element, tolerance_mm=1e-4)
    assert np.abs(free.scanned_displacement).max() > 0.5
    state = Equilibrium(free, element).solve()
    assert np.linalg.norm(state.displacement, axis=1).max() < 2e-4


def test_what_hangs_by_a_ligament_rests_in_the_scan():
    organ = kuhn_block((60, 40, 40), (3, 2, 2))
    corners = organ.points[organ.exterior]
    bed, top = (
        organ.exterior[(np.abs(corners[:, :, axis] - at) < 1e-9).all(axis=1)]
        for axis, at in ((1, 40), (2, 40))
    )
    body = Body(organ, attachments=[Attachment("bed", bed, 0.3, 0.3)], patches={"top": top})
    cord = Ligament("cord", "top", (30, -20, 80), 40.0, slack_mm=60.0)
    free = unload(body, "P2", tolerance_mm=1e-4, loads=[cord])
    assert np.abs(free.scanned_displacement).max() > 0.5
    assert np.abs(Equilibrium(free, "P2", [cord]).solve().displacement).max() < 2e-4
    cord.release()
    assert np.abs(Equilibrium(free, "P2", [cord]).solve().displacement).max() > 0.05
    with pytest.raises(SolverError, match="cannot be found in contact"):
        unload(body, "P2", loads=[Contact("table", "top", Plane((0, 0, 40), (0, 0, -1)))])


def test_a_load_that_the_scan_could_not_bear_is_refused_for_what_it_is():
    organ = kuhn_block((40, 20, 20), (2, 1, 1))
    corners = organ.points[organ.exterior]
    bed, top = (organ.exterior[(corners[:, :, 2] == z).all(axis=1)] for z in (0, 20))
    body = Body(organ, attachments=[Attachment("bed", bed, 5.0, 5.0)], patches={"top": top})
    with pytest.raises(SolverError, match=r"shape cannot bear its load\. No equilibrium beyond \d+.\d% of"):
        unload(body, "P1", loads=[Traction("top", (0, 0, -400.0))])
