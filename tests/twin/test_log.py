import json

import pytest

from solver.actions import Grasp, Hold, Pull
from solver.errors import SolverError
from twin.errors import TwinError
from twin.log import ActLog
from twin.rehearsal import Rehearsal

ONE, TWO, THREE = Hold(1.0), Hold(2.0), Hold(3.0)


def acts(log, name=None):
    return [node.act for node in log.line(name)]


def test_undo_and_redo_move_along_the_line_and_stay_in_the_record():
    log = ActLog()
    for act in (ONE, TWO, THREE):
        log.do(act)
    log.undo()
    log.undo()
    assert acts(log) == [ONE]
    log.redo()
    assert acts(log) == [ONE, TWO]
    assert log.can_redo
    log.do(ONE)
    assert acts(log) == [ONE, TWO, ONE]
    assert not log.can_redo
    assert log.undos == 2
    assert [next(iter(entry)) for entry in log.entries] == ["do", "do", "do", "undo", "undo", "redo", "do"]


def test_alternatives_share_their_beginning():
    log = ActLog()
    log.do(ONE)
    log.branch("by the left")
    log.do(TWO)
    log.go("plan")
    log.do(THREE)
    assert log.alternatives == ("plan", "by the left")
    assert acts(log, "by the left") == [ONE, TWO]
    assert acts(log) == [ONE, THREE]


def test_an_edit_does_again_what_follows():
    log = ActLog()
    for act in (ONE, TWO, THREE):
        log.do(act)
    log.edit(2, Hold(2.5))
    assert acts(log) == [ONE, Hold(2.5), THREE]
    log.reset()
    assert acts(log) == []
    assert log.count == 5


def test_a_log_read_back_is_the_same_log():
    log = ActLog()
    log.do(Grasp("g", point_mm=(1.0, 2.0, 3.0)))
    log.do(Pull("g", (0.0, 0.0, 4.0)))
    log.undo()
    log.branch("b")
    log.do(ONE)
    log.edit(1, Grasp("g", point_mm=(1.0, 2.0, 3.5)))
    log.go("plan")
    log.redo()
    again = ActLog(json.loads(json.dumps(log.entries)))
    assert again.entries == log.entries
    for name in log.alternatives:
        assert acts(again, name) == acts(log, name)
    assert again.present == "plan"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"undo": 1}], "entry 1: There is nothing to undo"),
        ([{"redo": 1}], "nothing to do again"),
        ([{"go": "x"}], "no alternative 'x'; there are plan"),
        ([{"go": ["x"]}], "no alternative .* there are plan"),
        ([{"branch": " "}], "needs a name"),
        ([{"branch": "plan"}], "already"),
        ([{"edit": 1, "with": {"act": "hold", "duration_s": 1.0}}], "has 0 acts"),
        ([{"edit": "1", "with": {"act": "hold", "duration_s": 1.0}}], "number of an act"),
        ([{"jump": 1}], "an entry has one of"),
        (["undo"], "an entry of a log is an object"),
    ],
)
def test_what_cannot_have_happened_is_refused(entries, message):
    with pytest.raises(TwinError, match=message):
        ActLog(entries)


def test_an_act_that_cannot_be_read_is_named():
    with pytest.raises(SolverError, match="entry 1: hold needs the key 'duration_s'"):
        ActLog([{"do": {"act": "hold"}}])


def test_a_rehearsal_keeps_its_log_in_the_file(tmp_path):
    rehearsal = Rehearsal("T", [ONE, TWO])
    assert "log" not in rehearsal.to_json()
    rehearsal.log.undo()
    rehearsal.append(THREE)
    rehearsal.write(tmp_path / "r.json")
    again = Rehearsal.read(tmp_path / "r.json")
    assert again.actions == (ONE, THREE)
    assert again.log.undos == 1
    data = json.loads((tmp_path / "r.json").read_text())
    data["actions"].pop()
    (tmp_path / "r.json").write_text(json.dumps(data))
    with pytest.raises(TwinError, match="changed by hand"):
        Rehearsal.read(tmp_path / "r.json")


def test_several_acts_are_undone_and_done_again_in_one_go():
    log = ActLog()
    for act in (ONE, TWO, THREE):
        log.do(act)
    log.undo(2)
    assert acts(log) == [ONE]
    log.redo()
    assert acts(log) == [ONE, TWO, THREE]
    assert log.undos == 1
    with pytest.raises(TwinError, match="has 3 acts; 4 cannot be undone"):
        log.undo(4)
