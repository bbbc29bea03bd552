import os
import signal
import time
from multiprocessing.shared_memory import SharedMemory

import numpy as np
import pytest

from solver.actions import Pull
from solver.verification.blocks import kuhn_block
from twin.errors import TwinError
from twin.service import Service

POINT = np.array([80.0, 50.0, 40.0])


@pytest.fixture(scope="module")
def service():
    with Service(kuhn_block((80, 50, 40), (8, 5, 4), {1: "spleen"}), title="Spleen") as service:
        stages = []
        service.wait_ready(progress=lambda stage, share: stages.append((stage, share)))
        assert stages[-1] == ("ready", 1.0)
        assert [s for _, s in stages] == sorted(s for _, s in stages)
        yield service


@pytest.fixture(autouse=True)
def _rested(service):
    service.reset()
    _until(
        lambda: service.latest().state == "converged" and not service.latest().forces_N and not service._asked
    )
    service.refusals()


def _until(happened, seconds=10.0):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def _pull(service, way=10.0):
    service.grasp("grasper", POINT)
    for k in range(1, 21):
        service.move("grasper", POINT + np.array([0.0, 0.0, way * k / 20]))
        time.sleep(0.01)
    # A frame may have converged before the last of the moves has arrived.
    _until(lambda: service.latest().displacement[:, 2].max() > 0.99 * way)
    _until(lambda: service.latest().state == "converged" and "grasper" in service.latest().forces_N)


def test_rests_in_the_scanned_shape(service):
    assert service.ready
    assert np.abs(service.latest().displacement).max() < 0.05
    assert service.silence_s < 2.0


def test_a_pull_is_felt_and_a_release_returns_to_rest(service):
    _pull(service)
    frame = service.latest()
    assert frame.forces_N["grasper"][2] > 0.05
    assert frame.displacement[:, 2].max() == pytest.approx(10.0, abs=2.0)
    assert frame.minimum_jacobian > 0.3
    service.release("grasper")
    _until(lambda: not service.latest().forces_N and service.latest().state == "converged")
    assert np.abs(service.latest().displacement).max() < 0.05


def test_every_gentle_move_is_seen(service):
    service.grasp("grasper", POINT)
    _until(lambda: "grasper" in service.latest().forces_N)
    seen = []
    for k in range(1, 11):
        service.move("grasper", POINT + np.array([0.0, 0.0, 0.05 * k]))
        before = service.latest()
        _until(lambda before=before: service.latest() is not before)
        time.sleep(0.03)
        seen.append(float(service.latest().displacement[:, 2].max()))
    assert np.all(np.diff(seen) > 0.02)


def test_the_newest_frame_is_copied_once(service):
    _until(lambda: service.latest() is service.latest())
    before = service.latest()
    _pull(service)
    assert service.latest() is not before
    assert np.abs(before.displacement).max() < 0.05


def test_grasping_the_air_is_told_and_not_logged(service):
    before = len(service.log)
    service.grasp("grasper", [500.0, 0.0, 0.0])
    service.move("grasper", [510.0, 0.0, 0.0])
    told = []
    _until(lambda: told.extend(service.refusals()) or told)
    assert "nothing there to grasp" in told[0]
    assert service.alive
    time.sleep(0.05)
    service.refusals()
    assert [act.act for act in service.log.actions[before:] if act.act != "hold"] == []


def test_a_scripted_act_takes_its_time(service):
    service.grasp("grasper", POINT)
    service.perform(Pull("grasper", (0.0, 0.0, 6.0), 0.4))
    began = time.monotonic()
    _until(lambda: np.abs(service.latest().displacement).max() > 5.9)
    assert time.monotonic() - began > 0.3


def test_a_solver_killed_in_the_middle_of_a_pull_goes_on_by_itself(service):
    service.grasp("grasper", POINT)
    for k in range(1, 11):
        service.move("grasper", POINT + np.array([0.0, 0.0, 0.5 * k]))
        time.sleep(0.01)
    memory, killed = service._buffer.name, service.process_id
    os.kill(killed, signal.SIGKILL)
    for k in range(11, 21):
        service.move("grasper", POINT + np.array([0.0, 0.0, 0.5 * k]))
        time.sleep(0.01)
    assert service.latest() is not None
    _until(lambda: service.ready and service.process_id != killed, 60.0)
    _until(lambda: service.latest().state == "converged" and service.latest().displacement[:, 2].max() > 9.9)
    assert not service.refusals()
    undisturbed = service.latest()
    assert [act.act for act in service.log.actions if act.act != "hold"][-2:] == ["grasp", "pull"]
    assert service.log.actions[-1].by_mm == pytest.approx((0.0, 0.0, 10.0))
    service.reset()
    _until(lambda: not service.latest().forces_N)
    _pull(service)
    again = service.latest()
    assert again.forces_N["grasper"] == pytest.approx(undisturbed.forces_N["grasper"], abs=2e-3)
    assert np.abs(again.displacement - undisturbed.displacement).max() < 0.05
    with pytest.raises(FileNotFoundError):
        SharedMemory(name=memory)


def test_a_solver_killed_in_the_middle_of_an_act_does_it_again(service):
    service.grasp("grasper", POINT)
    service.perform(Pull("grasper", (0.0, 0.0, 6.0), 0.5))
    _until(lambda: 1.0 < np.abs(service.latest().displacement).max() < 5.0)
    os.kill(service.process_id, signal.SIGKILL)
    _until(lambda: np.abs(service.latest().displacement).max() < 5.9, 60.0)
    _until(lambda: np.abs(service.latest().displacement).max() > 5.9, 60.0)
    acts = [act for act in service.log.actions if act.act != "hold"]
    assert [act.act for act in acts][-2:] == ["grasp", "pull"]


def test_undo_redo_and_alternatives_at_the_window(service):
    _pull(service)
    service.undo()
    _until(lambda: np.abs(service.latest().displacement).max() < 0.1)
    assert "grasper" in service.latest().forces_N
    service.redo()
    _until(lambda: service.latest().displacement[:, 2].max() > 9.0)
    service.branch("less")
    service.undo()
    _until(lambda: np.abs(service.latest().displacement).max() < 0.1)
    service.go("plan")
    _until(lambda: service.latest().displacement[:, 2].max() > 9.0)
    log = service.log.log
    assert log.alternatives == ("plan", "less")
    assert log.undos >= 2
    service.undo()
    service.undo()
    service.undo()
    told = []
    _until(lambda: told.extend(service.refusals()) or told)
    assert "nothing to undo" in told[0]


def test_the_log_replays(service):
    _pull(service)
    service.release("grasper")
    log = service.log
    assert log.title == "Spleen"
    last = [act for act in log.actions if act.act != "hold"][-3:]
    assert [act.act for act in last] == ["grasp", "pull", "release"]
    assert last[1].by_mm == pytest.approx((0.0, 0.0, 10.0))


def test_closing_leaves_no_memory_and_may_be_repeated():
    service = Service(kuhn_block((40, 30, 30), (2, 2, 2), {1: "spleen"}), resting=False)
    service.wait_ready()
    memory, process = service._buffer.name, service.process_id
    service.close()
    service.close()
    assert not service.alive
    with pytest.raises(FileNotFoundError):
        SharedMemory(name=memory)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_body_that_cannot_be_built_is_told():
    with Service(kuhn_block((40, 30, 30), (2, 2, 2), {1: "unobtainium"})) as service:
        with pytest.raises(TwinError, match="No published tissue is known for the structure 'unobtainium'"):
            service.wait_ready()
        assert not service.alive


def test_a_missing_case_is_refused(tmp_path):
    with pytest.raises(TwinError, match="no organ mesh"):
        Service(tmp_path / "none")
