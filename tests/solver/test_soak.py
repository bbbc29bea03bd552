import numpy as np

from benchmarks.soak import soak
from solver.attachments import Attachment
from solver.body import Body
from solver.field import OperativeField
from solver.interactive import Interactive
from solver.verification.blocks import kuhn_block


def test_random_handling_breaks_nothing_and_leave_nothing_behind():
    organ = kuhn_block((90.0, 60.0, 50.0), (9, 6, 5))
    back = organ.exterior[(organ.points[organ.exterior][:, :, 1] > 59.9).all(axis=1)]
    seen = soak(
        OperativeField(Interactive(Body(organ, attachments=[Attachment("back", back, 2.0, 2.0)]))), 2.0, 7
    )
    assert seen.frames > 750
    assert seen.infinite == 0
    assert seen.lowest_jacobian > 0
    assert seen.rounds > 1
    assert seen.drift_mm < 0.05
    assert seen.refused < 0.3 * seen.acts
    assert np.ptp(seen.memory_MB[len(seen.memory_MB) // 3 :]) < 60.0
