import numpy as np
import pytest

from solver.attachments import Attachment
from solver.body import Body
from solver.equilibrium import Equilibrium
from solver.errors import SolverError
from solver.resting import at_rest
from solver.verification.blocks import kuhn_block


def _body(stiffness, gravity=9810.0):
    organ = kuhn_block((60, 40, 40), (6, 4, 4))
    centre = organ.points[organ.exterior].mean(axis=1)
    bed, wall = organ.exterior[centre[:, 1] > 40 - 1e-9], organ.exterior[centre[:, 0] < 1e-9]
    return Body(
        organ,
        attachments=[Attachment("bed", bed, stiffness, stiffness), Attachment("wall", wall, 1.0, 1.0)],
        gravity_mm_s2=(0.0, gravity, 0.0),
    )


@pytest.mark.parametrize("stiffness", [0.5, 0.05])
def test_the_reloaded_shape_is_the_scanned_one(stiffness):
    stages = []
    body = at_rest(_body(stiffness), progress=lambda stage, share: stages.append(share))
    sag = np.linalg.norm(body.scanned_displacement, axis=1).max()
    assert sag > 0.5
    found = Equilibrium(body, "P1-averaged").solve()
    assert np.abs(found.displacement).max() < 0.003
    assert 1 <= len(stages) <= 12


def test_without_gravity_nothing_changes():
    body = _body(0.5, gravity=0.0)
    assert at_rest(body) is body


def test_a_body_that_nothing_holds_is_refused():
    body = Body(kuhn_block((60, 40, 40), (2, 2, 2)), attachments=[])
    with pytest.raises(SolverError, match="not held"):
        at_rest(body)


def test_a_weight_the_tissue_cannot_bear_is_refused():
    with pytest.raises(SolverError, match="stress-free shape"):
        at_rest(_body(0.01, gravity=3e5))
