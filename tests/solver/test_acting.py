"""The loads of the live tissue on the reference tier: the live state is the equilibrium under them."""

import numpy as np
import pytest

from solver.acting import Acting, outer_loads
from solver.actions import Grasp, Hold, InsertNeedle, Insufflate, Pull, Suture, Tilt
from solver.attachments import Attachment
from solver.body import Body
from solver.equilibrium import Equilibrium
from solver.field import OperativeField
from solver.interactive import Interactive
from solver.live_error import reference_error
from solver.live_motion import Motion
from solver.pneumoperitoneum import Pneumoperitoneum
from solver.verification.blocks import kuhn_block
from tests.solver.carrying import carry_out
from tests.solver.opened import opened_at

ORGAN = kuhn_block((60, 30, 30), (8, 4, 4))


@pytest.fixture(scope="module")
def field():
    centre = ORGAN.points[ORGAN.exterior].mean(axis=1)
    walls = [
        Attachment("wall", ORGAN.exterior[centre[:, 0] < 1e-9], 5.0, 5.0),
        Attachment("bed", ORGAN.exterior[centre[:, 1] > 30 - 1e-9], 1.0, 0.5),
    ]
    return OperativeField(Interactive(Body(ORGAN, attachments=walls)))


ACTS = {
    "gas": [Insufflate(15.0, 0.5)],
    "tilt": [Tilt(30.0, "left side down", duration_s=0.3)],
    "suture": [Suture("stitch", ((40.0, 0.0, 5.0), (55.0, 0.0, 25.0)), 0.3, duration_s=0.5)],
    "needle": [InsertNeedle("needle", (45.0, -2.0, 14.0), (44.0, 20.0, 15.0), 20.0)],
}
ACTS["all, and a grasper"] = [act for acts in ACTS.values() for act in acts] + [
    Grasp("g", point_mm=(60.0, 0.0, 30.0), radius_mm=8.0),
    Pull("g", (2.0, -3.0, 0.0), 0.5),
]


@pytest.mark.parametrize("acts", ACTS.values(), ids=ACTS)
def test_live_state_is_the_equilibrium_of_the_reference_tier_under_the_same_loads(field, acts):
    field.reset()
    assert carry_out(field, *acts, Hold(2.0)).state == "converged"
    field.live.settle(2e-3)
    assert reference_error(field.live)[1] < 0.01
    # Without the loads it would be another one.
    held = np.concatenate([np.zeros(0, dtype=np.int64), *(field.live.held_by(t) for t in field.live.tools)])
    bare = Equilibrium(field.live.body, "P1-averaged").solve((held, field.live.displacement[held]))
    assert np.linalg.norm(bare.displacement - field.live.displacement, axis=1).max() > 0.1


def test_second_derivative_of_the_gas_is_that_of_its_energy(field):
    field.reset()
    x = field.live.positions
    gas = Pneumoperitoneum.around(field.live.body, 2.0, x)
    rng = np.random.default_rng(3)
    way = rng.standard_normal(x.shape)
    gradient = [gas.evaluate(x + s * 1e-5 * way)[1] for s in (-1, 1)]
    found = (gas.second_derivative(x) @ way.ravel()).reshape(-1, 3)
    assert found == pytest.approx((gradient[1] - gradient[0]) / 2e-5, abs=1e-6)


def test_loads_of_time_are_not_among_them(field):
    gas = Pneumoperitoneum.around(field.live.body, 2.0, field.live.positions)
    assert outer_loads([Motion.of(field.live.body, field.live.positions), gas]) == (gas,)
    assert Acting((gas,)).virtual_work(None, None, None, None) == 0


def test_cut_faces_that_touch_and_a_stitch_across_them_are_felt(field):
    field.reset()
    field.cut_faces_touch = True
    carry_out(field, Suture("stitch", ((25.0, 30.0, 15.0), (40.0, 0.0, 15.0)), 0.2, duration_s=0.3))
    field.change(opened_at(field.organ, 30.0, 15.0))
    assert carry_out(field, Hold(2.0)).state == "converged"
    assert field.live.loads.keys() > {"stitch"}
    field.live.settle(2e-3)
    assert reference_error(field.live)[1] < 0.01
