import json

import numpy as np
import pytest

from solver.actions import Grasp, Hold, Pull, Release
from solver.attachments import Attachment
from solver.body import Body
from solver.field import OperativeField
from solver.interactive import Interactive
from solver.live_error import reference_error
from solver.verification.blocks import kuhn_block
from twin.errors import TwinError
from twin.rehearsal import Rehearsal
from twin.replay import replay

LIFT = Rehearsal(
    "Lift",
    [Grasp("grasper", "liver", (1.0, 0.0, 1.0)), Pull("grasper", (0.0, 0.0, 8.0), 1.0), Hold(0.2)],
)


@pytest.fixture(scope="module")
def live():
    organ = kuhn_block((60, 30, 30), (6, 3, 3))
    wall = organ.exterior[(organ.points[organ.exterior][:, :, 0] < 1e-9).all(axis=1)]
    return Interactive(Body(organ, attachments=[Attachment("wall", wall, 2.0, 2.0)]))


def test_the_same_acts_give_the_same_state(live):
    first = replay(LIFT, OperativeField(live))
    again = replay(LIFT, OperativeField(live))
    other = replay(Rehearsal("Lift", [*LIFT, Release("grasper", 0.5)]), OperativeField(live))
    assert first.state_hash == again.state_hash
    assert len(first.state_hash) == 64
    assert other.state_hash != first.state_hash


def test_outcome_of_a_lift(live):
    seen = []
    stages = []
    outcome = replay(
        LIFT, OperativeField(live), on_frame=seen.append, progress=lambda stage, share: stages.append(share)
    )
    assert outcome.frames == len(seen) == 1 + 30 + 6
    assert outcome.times_s[-1] == pytest.approx(37 / 30)
    assert outcome.peak_displacement_mm == pytest.approx(8.0, abs=1.5)
    assert outcome.peak_force_N == pytest.approx(np.linalg.norm(seen[30].forces_N["grasper"]), rel=0.05)
    assert 0 < outcome.median_frame_ms <= outcome.worst_frame_ms
    assert stages == sorted(stages)
    assert stages[-1] == 1.0
    assert reference_error(live)[0] < 0.1


def test_a_release_in_the_script_returns_to_rest(live):
    live.reset()
    rest = live.displacement
    replay(Rehearsal("Lift", [*LIFT, Release("grasper", 0.5), Hold(0.5)]), OperativeField(live))
    assert np.abs(live.displacement - rest).max() < 0.05
    assert live.tools == {}


def test_file_round_trip(tmp_path):
    path = tmp_path / "lift.json"
    LIFT.write(path)
    read = Rehearsal.read(path)
    assert read.title == "Lift"
    assert read.actions == LIFT.actions
    assert json.loads(path.read_text())["format"] == "organtwin-rehearsal"
    assert [p.name for p in tmp_path.iterdir()] == ["lift.json"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a rehearsal"),
        ('{"format": "organtwin-rehearsal", "version": 3, "actions": []}', "version 3"),
        ('{"format": "organtwin-rehearsal", "version": 1}', "no list 'actions'"),
        ('{"format": "organtwin-rehearsal", "version": 1, "actions": [], "author": 1}', "no key 'author'"),
        (
            '{"format": "organtwin-rehearsal", "version": 1, "actions": [{"act": "hold", "duration_s": 1},'
            ' {"act": "hold"}]}',
            "action 2: hold needs the key 'duration_s'",
        ),
    ],
)
def test_a_bad_script_is_refused(tmp_path, text, words):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(TwinError, match=words):
        Rehearsal.read(path)


def test_a_missing_script_is_refused(tmp_path):
    with pytest.raises(TwinError, match=r"none\.json cannot be read: No such file"):
        Rehearsal.read(tmp_path / "none.json")


def test_writing_into_nowhere_leaves_nothing(tmp_path):
    with pytest.raises(TwinError, match="cannot be written"):
        LIFT.write(tmp_path / "missing" / "lift.json")
    assert list(tmp_path.iterdir()) == []


def test_an_act_that_cannot_be_done_is_named(live):
    with pytest.raises(TwinError, match=r"action 2 \(grasp\): There is nothing there to grasp"):
        replay(Rehearsal("x", [Hold(0.1), Grasp("g", point_mm=(999.0, 0.0, 0.0))]), OperativeField(live))
    with pytest.raises(TwinError, match=r"action 1 \(grasp\): The organ has no structure 'spleen'"):
        replay(Rehearsal("x", [Grasp("g", "spleen", (0.0, 0.0, 1.0))]), OperativeField(live))
    with pytest.raises(TwinError, match=r"action 1 \(pull\): The tool 'g' holds no tissue"):
        replay(Rehearsal("x", [Pull("g", (0.0, 0.0, 1.0))]), OperativeField(live))


def test_ctrl_c_comes_through(live):
    def stop(frame):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replay(LIFT, OperativeField(live), on_frame=stop)
    assert replay(LIFT, OperativeField(live)).frames == 37
