"""Gas, tilt, mobilisation, needle, suture and staples in a rehearsal: undone, done again, written, replayed."""

import numpy as np
import pytest

from sample_scans import bundled_rehearsal
from solver.actions import (
    Desufflate,
    Grasp,
    Hold,
    InsertNeedle,
    Insufflate,
    Mobilise,
    Pull,
    Staple,
    Suture,
    Tilt,
    WithdrawNeedle,
)
from solver.attachments import Attachment
from solver.body import Body
from solver.errors import SolverError
from solver.field import OperativeField
from solver.interactive import Interactive
from solver.verification.blocks import kuhn_block
from twin.rehearsal import Rehearsal
from twin.replay import replay
from twin.session import Session

ACTS = [
    Suture("stitch", ((40.0, 0.0, 5.0), (50.0, 0.0, 5.0)), 0.2, duration_s=0.2),
    Staple("line", ((45.0, 0.0, 15.0), (45.0, 0.0, 25.0)), height_mm=4.0, duration_s=0.2),
    Grasp("g", point_mm=(60.0, 0.0, 30.0)),
    Insufflate(12.0, 0.2),
    Tilt(15.0, "left side down", duration_s=0.2),
    Mobilise(("band",)),
    InsertNeedle("needle", (30.0, -5.0, 14.0), (31.0, 18.0, 15.0), 50.0, correct=True),
    Pull("g", (0.0, -2.0, 2.0), 0.2),
    WithdrawNeedle("needle", 0.2),
    Desufflate(0.2),
    Hold(0.1),
]


@pytest.fixture(scope="module")
def field():
    organ = kuhn_block((60, 30, 30), (6, 3, 3))
    centre = organ.points[organ.exterior].mean(axis=1)
    held = [
        Attachment("wall", organ.exterior[centre[:, 0] < 1e-9], 20.0, 20.0),
        Attachment("band", organ.exterior[centre[:, 1] > 30 - 1e-9], 0.5, 0.5),
    ]
    return OperativeField(Interactive(Body(organ, attachments=held, gravity_mm_s2=(0, 2000.0, 0))))


def test_every_act_is_undone_done_again_and_replayed_to_the_same_hash(field):
    session = Session(field)
    hashes = [field.state_hash()]
    for act in ACTS:
        assert list(session.perform(act))
        hashes.append(field.state_hash())
    assert np.linalg.norm(field.live.displacement, axis=1).max() > 1.0
    for expected in hashes[-2::-1]:
        session.undo()
        assert field.state_hash() == expected
    assert not field.live.loads
    for expected in hashes[1:]:
        session.redo()
        assert field.state_hash() == expected
    again = Rehearsal.from_json(session.rehearsal.to_json())
    assert again.actions == tuple(ACTS)
    assert replay(again, field).state_hash == hashes[-1]


@pytest.mark.parametrize(
    "act",
    [
        Mobilise(("falciform ligament",)),
        Mobilise(("wall", "band")),
        InsertNeedle("n", (-50.0, 0.0, 0.0), (300.0, 0.0, 0.0)),
        Suture("s", ((0.0, 0.0, 0.0), (0.0, 0.0, 400.0))),
        WithdrawNeedle("n"),
    ],
    ids=lambda act: act.act,
)
def test_what_is_refused_leaves_the_rehearsal_going(field, act):
    session = Session(field)
    list(session.perform(Insufflate(10.0, 0.1)))
    before = field.state_hash()
    with pytest.raises(SolverError):
        list(session.perform(act))
    assert field.state_hash() == before
    assert list(session.perform(Hold(0.1)))


@pytest.mark.parametrize("name", ["insufflation_and_tilt", "mobilised_left_lobe", "needle_deep_tumour"])
def test_bundled_rehearsals_can_be_read(name):
    rehearsal = Rehearsal.read(bundled_rehearsal(name))
    assert Rehearsal.from_json(rehearsal.to_json()).actions == rehearsal.actions
    assert rehearsal.length_s > 3.0
