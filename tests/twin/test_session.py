import pytest

from solver.actions import Grasp, Hold, Pull, Release
from solver.attachments import Attachment
from solver.body import Body
from solver.errors import SolverError
from solver.field import OperativeField
from solver.interactive import Interactive
from solver.verification.blocks import kuhn_block
from twin.errors import TwinError
from twin.replay import replay
from twin.session import Session

GRASP = Grasp("grasper", "liver", (1.0, 0.0, 1.0))
UP, DOWN = Pull("grasper", (0.0, 0.0, 6.0), 0.5), Pull("grasper", (0.0, 0.0, -4.0), 0.5)


@pytest.fixture(scope="module")
def field():
    organ = kuhn_block((60, 30, 30), (6, 3, 3))
    wall = organ.exterior[(organ.points[organ.exterior][:, :, 0] < 1e-9).all(axis=1)]
    return OperativeField(Interactive(Body(organ, attachments=[Attachment("wall", wall, 2.0, 2.0)])))


def perform(session, *acts):
    hashes = []
    for act in acts:
        frames = list(session.perform(act))
        assert frames
        hashes.append(session.field.state_hash())
    return hashes


def test_undo_gives_back_the_state_before_each_act_and_redo_the_one_after(field):
    session = Session(field)
    rest = field.state_hash()
    hashes = [rest, *perform(session, GRASP, UP, Hold(0.1), Release("grasper", 0.1))]
    assert len(set(hashes)) == len(hashes)
    for expected in hashes[-2::-1]:
        session.undo()
        assert field.state_hash() == expected
    with pytest.raises(TwinError, match="nothing to undo"):
        session.undo()
    for expected in hashes[1:]:
        session.redo()
        assert field.state_hash() == expected
    with pytest.raises(TwinError, match="nothing to do again"):
        session.redo()


def test_what_was_undone_leaves_no_trace_in_what_follows(field):
    session = Session(field)
    perform(session, GRASP, UP)
    session.undo()
    last = perform(session, DOWN)[-1]
    assert replay(session.rehearsal, field).state_hash == last


def test_alternatives_keep_their_states(field):
    session = Session(field)
    perform(session, GRASP)
    session.branch("up")
    up = perform(session, UP)[-1]
    session.go("plan")
    down = perform(session, DOWN)[-1]
    session.go("up")
    assert field.state_hash() == up
    session.go("plan")
    assert field.state_hash() == down
    assert replay(session.rehearsal.plan("up"), field).state_hash == up


def test_an_edit_replays_what_follows(field):
    session = Session(field)
    perform(session, GRASP, UP, Hold(0.1))
    session.edit(2, DOWN)
    found = field.state_hash()
    other = Session(field)
    assert perform(other, GRASP, DOWN, Hold(0.1))[-1] == found


def test_an_edit_that_cannot_be_carried_through_changes_nothing(field):
    session = Session(field)
    last = perform(session, GRASP, UP)[-1]
    with pytest.raises(TwinError, match="cannot be carried through: There is nothing there to grasp"):
        session.edit(1, Grasp("grasper", point_mm=(999.0, 0.0, 0.0)))
    assert field.state_hash() == last
    assert [node.act for node in session.log.line()] == [GRASP, UP]
    perform(session, Release("grasper", 0.1))


def test_a_refused_act_changes_nothing_and_the_rehearsal_goes_on(field):
    session = Session(field)
    before = perform(session, GRASP)[-1]
    with pytest.raises(SolverError, match="already holds"):
        perform(session, GRASP)
    assert field.state_hash() == before
    assert len(session.log.line()) == 1
    perform(session, UP)


def test_states_that_were_not_kept_are_reached_again(field, monkeypatch):
    monkeypatch.setattr("twin.session.KEPT", 2)
    session = Session(field)
    hashes = perform(session, GRASP, UP, DOWN, Hold(0.1))
    for expected in hashes[-2::-1]:
        session.undo()
        assert field.state_hash() == expected
