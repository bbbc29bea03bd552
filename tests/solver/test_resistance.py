import numpy as np
import pytest

from solver.attachments import Attachment
from solver.averaged import Averaged
from solver.body import Body
from solver.live_tissue import FLOOR_JACOBIAN
from solver.resistance import NEVER_BELOW, RESISTS_BELOW, barrier
from solver.stepping import MINIMUM_JACOBIAN
from solver.verification.blocks import kuhn_block


@pytest.fixture(scope="module")
def crushed():
    """A block whose middle vertex is pushed until some of its tetrahedra keep a fifth of their volume."""
    organ = kuhn_block((20, 20, 20), (2, 2, 2))
    wall = organ.exterior[(organ.points[organ.exterior][:, :, 0] < 1e-9).all(axis=1)]
    averaged = Averaged(Body(organ, attachments=[Attachment("wall", wall, 1.0, 1.0)]))
    u = np.zeros_like(organ.points)
    u[np.argmin(np.linalg.norm(organ.points - 10.0, axis=1))] = (7.6, -0.2, 0.1)
    assert averaged.evaluate(u, FLOOR_JACOBIAN)[2] == pytest.approx(0.22, abs=0.01)
    return averaged, u


def test_it_begins_where_the_reference_tier_takes_nothing_for_a_solution():
    assert RESISTS_BELOW == MINIMUM_JACOBIAN
    assert NEVER_BELOW == FLOOR_JACOBIAN
    energy, slope, curvature = barrier(np.array([RESISTS_BELOW, 0.2, 0.1001]))
    assert energy[0] == slope[0] == curvature[0] == 0.0
    assert (np.diff(energy) > 0).all()
    assert (slope[1:] < 0).all()
    assert (curvature[1:] > 0).all()
    assert curvature[2] > 1e4


def test_barrier_is_the_integral_of_its_slope():
    J, step = np.linspace(0.11, 0.29, 19), 1e-6
    energy, slope, curvature = barrier(J)
    after, before = barrier(J + step), barrier(J - step)
    assert (after[0] - before[0]) / (2 * step) == pytest.approx(slope, rel=1e-5, abs=1e-9)
    assert (after[1] - before[1]) / (2 * step) == pytest.approx(curvature, rel=1e-5, abs=1e-9)
    assert (energy > 0).all()


def test_forces_of_a_crushed_block_are_the_slope_of_its_energy(crushed):
    averaged, u = crushed
    gradient = averaged.evaluate(u, FLOOR_JACOBIAN)[1]
    step = 1e-5
    for vertex, axis in ((13, 0), (13, 1), (22, 0), (14, 2)):
        nudge = np.zeros_like(u)
        nudge[vertex, axis] = step
        slope = averaged.evaluate(u + nudge, 0.1)[0] - averaged.evaluate(u - nudge, 0.1)[0]
        assert slope / (2 * step) == pytest.approx(gradient[vertex, axis], rel=1e-5, abs=1e-4)


def test_tangent_of_a_crushed_block_knows_the_resistance(crushed):
    """Along the push the stiffness is that of the forces, but for the softening part that is left out."""
    averaged, u = crushed
    values, pattern = averaged.tangent(u), averaged.pattern
    upper = pattern.copy().astype(np.float64)
    upper.data[:] = values
    full = (upper + upper.T).toarray()
    full[np.diag_indices(len(full))] /= 2
    n = u.size
    condensed = full[:n, :n] - full[:n, n:] @ np.linalg.solve(full[n:, n:], full[n:, :n])
    along = np.zeros(n)
    along[3 * 13] = 1.0
    step = 1e-5 * along.reshape(-1, 3)
    change = averaged.evaluate(u + step, 0.1)[1] - averaged.evaluate(u - step, 0.1)[1]
    assert (condensed @ along)[3 * 13] == pytest.approx(change[13, 0] / 2e-5, rel=0.2)
