from threading import Event

import numpy as np
import pytest

from anatomy.mesh import OrganMesh
from solver.attachments import Attachment
from solver.body import Body
from solver.errors import SolverError
from solver.interactive import CONVERGED_MM, Interactive
from solver.live_error import reference_error
from solver.live_tissue import FLOOR_JACOBIAN
from solver.response import Response
from solver.verification.blocks import kuhn_block

CORNER = np.array([80.0, 0.0, 40.0])


def _body(scale=1.0, stiffness=0.3, whole=False):
    """A block lying on its back in a soft bed, one end against a wall."""
    block = kuhn_block((80, 40, 40), (8, 4, 4))
    organ = OrganMesh(block.points * scale, block.tets, block.region, block.structures)
    facets, centre = organ.exterior, organ.points[organ.exterior].mean(axis=1)
    wall, bed = centre[:, 0] < 1e-9, centre[:, 1] > (40 - 1e-9) * scale
    attachments = [
        Attachment("wall", facets[wall], 3.0, 3.0),
        Attachment("bed", facets[bed], stiffness, stiffness),
    ]
    return Body(
        organ, attachments=[Attachment("all", facets, stiffness, stiffness)] if whole else attachments
    )


@pytest.fixture(scope="module")
def live():
    return Interactive(_body())


@pytest.fixture(autouse=True)
def _rested(request):
    if "live" in request.fixturenames:
        request.getfixturevalue("live").reset()


def _lift(live, way, frames=30, iterations=3):
    live.grasp("grasper", CORNER, 12.0)
    for k in range(1, frames + 1):
        live.move("grasper", CORNER + np.asarray(way) * k / frames)
        frame = live.step(iterations=iterations, advance_s=1 / 30)
    return frame


def test_rests_in_the_scanned_shape(live):
    frame = live.step(iterations=1)
    assert frame.state == "converged"
    assert np.abs(frame.displacement).max() < 0.02
    assert frame.displacement.dtype == np.float32


def test_end_of_a_lift_is_the_equilibrium_of_the_same_discretisation(live):
    frame = _lift(live, (0.0, -5.0, 12.0))
    mean, largest = reference_error(live)
    assert mean <= 0.1
    # What the frame says of itself is right within a factor of three (and a tenth of what counts as converged).
    assert largest <= 3 * frame.distance_mm + 0.1 * CONVERGED_MM
    assert mean <= 3 * frame.mean_distance_mm + 0.1 * CONVERGED_MM
    assert frame.distance_mm <= 3 * largest + CONVERGED_MM
    assert frame.minimum_jacobian > 0.5


def test_held_still_it_converges(live):
    _lift(live, (0.0, 0.0, 10.0), frames=3, iterations=1)
    assert live.settle(1e-4).state == "converged"
    assert reference_error(live)[1] < 3e-4


def test_estimate_of_the_distance_is_right_within_a_factor_of_three_on_the_way(live):
    frame = _lift(live, (0.0, 0.0, 20.0), frames=4, iterations=1)
    mean, largest = reference_error(live)
    assert largest > 0.02
    assert frame.distance_mm / 3 < largest < 3 * frame.distance_mm
    assert frame.mean_distance_mm / 3 < mean < 3 * frame.mean_distance_mm


def test_estimate_before_any_iteration_is_no_smaller_than_the_distance(live):
    frame = _lift(live, (0.0, 0.0, 10.0), frames=2, iterations=0)
    mean, largest = reference_error(live)
    assert largest > 0.1
    assert frame.distance_mm > largest
    assert frame.mean_distance_mm > mean


def test_force_is_the_reaction_of_the_reference(live):
    from solver.equilibrium import Equilibrium

    _lift(live, (0.0, 0.0, 10.0))
    force = live.settle(1e-4).forces_N["grasper"]
    held = live.held_by("grasper")
    found = Equilibrium(live.body, "P1-averaged").solve(prescribed=(held, live.displacement[held]))
    assert force == pytest.approx(found.reaction_mN.sum(axis=0) / 1000.0, abs=1e-4)
    assert force[2] > 0.1


def test_release_returns_to_rest(live):
    _lift(live, (0.0, 0.0, 10.0))
    live.loosen("grasper", 0.5)
    half = live.settle()
    assert np.linalg.norm(half.forces_N["grasper"]) > 0.1
    live.release("grasper")
    frame = live.settle()
    assert frame.forces_N == {}
    assert np.abs(frame.displacement).max() < 0.05


def test_two_tools_hold_what_each_has_grasped(live):
    live.grasp("left", CORNER, 12.0)
    live.grasp("right", [80.0, 0.0, 0.0], 12.0)
    live.move("left", CORNER + np.array([0.0, 0.0, 5.0]))
    live.move("right", [80.0, 0.0, -5.0])
    frame = live.settle()
    assert frame.displacement[live.held_by("left")] == pytest.approx(
        np.tile([0.0, 0.0, 5.0], (len(live.held_by("left")), 1)), abs=0.02
    )
    assert frame.forces_N["left"][2] > 0 > frame.forces_N["right"][2]
    assert reference_error(live)[1] < 0.02


def test_steps_without_a_clock_repeat_bit_for_bit(live):
    _lift(live, (0.0, 0.0, 14.0))
    first = live.displacement
    live.reset()
    _lift(live, (0.0, 0.0, 14.0))
    assert np.array_equal(live.displacement, first)


def test_a_budget_returns_in_time_and_goes_on(live):
    live.grasp("grasper", CORNER, 12.0)
    live.move("grasper", CORNER + np.array([0.0, 0.0, 12.0]))
    seen = [live.step(budget_s=1e-4).iterations for _ in range(60)]
    assert max(seen) <= 2
    assert live.step(budget_s=0.5).state == "converged"
    assert reference_error(live)[1] < 0.05


def test_no_step_ever_inverts_a_tetrahedron(live):
    live.grasp("grasper", CORNER, 12.0)
    rng = np.random.default_rng(4)
    for _ in range(12):
        live.move("grasper", CORNER + rng.uniform(-40.0, 40.0, 3))
        frame = live.step(iterations=2)
        assert frame.minimum_jacobian > FLOOR_JACOBIAN
        assert np.isfinite(frame.displacement).all()


def test_snapshot_brings_state_and_tools_back(live):
    _lift(live, (0.0, 0.0, 6.0))
    saved, before = live.snapshot(), live.displacement
    live.release("grasper")
    live.settle()
    live.restore(saved)
    assert np.array_equal(live.displacement, before)
    assert live.position_of("grasper") == pytest.approx(CORNER + np.array([0.0, 0.0, 6.0]))


def test_grasping_the_air_is_refused(live):
    with pytest.raises(SolverError, match=r"nothing there to grasp.*113\.1 mm away"):
        live.grasp("grasper", [160.0, 40.0, 120.0], 8.0)
    assert live.tools == {}


def test_a_small_grasper_on_a_coarse_mesh_takes_the_nearest_vertex(live):
    live.grasp("grasper", [80.0, 23.0, 37.0], 1.0)
    assert len(live.held_by("grasper")) == 1


def test_tissue_another_tool_holds_is_refused(live):
    live.grasp("first", CORNER, 12.0)
    with pytest.raises(SolverError, match="Another tool already holds"):
        live.grasp("second", CORNER, 8.0)
    with pytest.raises(SolverError, match="already holds tissue"):
        live.grasp("first", [80.0, 0.0, 0.0], 8.0)
    with pytest.raises(SolverError, match="holds no tissue"):
        live.move("third", CORNER)
    with pytest.raises(SolverError, match="radius"):
        live.grasp("third", [80.0, 0.0, 0.0], -1.0)
    with pytest.raises(SolverError, match="three finite numbers"):
        live.move("first", [0.0, np.nan, 0.0])


def test_a_mesh_in_metres_is_refused():
    with pytest.raises(SolverError, match=r"0\.08 mm across.*millimetres"):
        Interactive(_body(scale=1e-3))


def test_a_body_that_cannot_move_is_refused():
    with pytest.raises(SolverError, match="cannot move"):
        Interactive(_body(stiffness=1e9, whole=True))


def test_a_body_that_nothing_holds_is_refused():
    organ = kuhn_block((80, 40, 40), (4, 2, 2))
    with pytest.raises(SolverError, match="not held"):
        Interactive(Body(organ, attachments=[]))


def test_a_restored_state_goes_on_as_the_first_time(live):
    _lift(live, (0.0, 0.0, 6.0), frames=10)
    saved = live.snapshot()

    def go_on():
        for k in range(1, 7):
            live.move("grasper", CORNER + np.array([0.0, -1.0 * k, 6.0]))
            live.step(iterations=1, advance_s=1 / 30)
        return live.displacement

    first = go_on()
    live.restore(saved)
    assert np.abs(go_on() - first).max() < 1e-9


def test_a_divided_support_is_felt_at_once():
    body = _body()
    free = Interactive(body)
    free.grasp("grasper", CORNER, 12.0)
    free.move("grasper", CORNER + np.array([0.0, 0.0, 4.0]))
    free.settle(1e-3)
    before = free.displacement
    free.hold_by([a.release() if a.name == "bed" else a for a in free.body.attachments])
    assert free.step(iterations=0).state != "converged"
    free.settle(1e-3)
    assert np.abs(free.displacement - before).max() > 0.5
    assert reference_error(free)[1] < 0.02


def test_a_tangent_renewed_beside_the_frames_comes_when_it_is_due_also_after_going_back(live):
    live.grasp("grasper", CORNER, 12.0)
    saved = None
    for k in range(1, 41):
        live.move("grasper", CORNER + np.array([0.0, 0.0, 22.0]) * k / 40)
        live.step(iterations=1, advance_s=1 / 120)
        if live.snapshot().refactoring is not None and saved is None:
            saved, at = live.snapshot(), k
    first = live.displacement
    assert saved is not None
    assert live.snapshot().factor is not saved.factor  # the renewed one has been taken over
    live.restore(saved)
    for k in range(at + 1, 41):
        live.move("grasper", CORNER + np.array([0.0, 0.0, 22.0]) * k / 40)
        live.step(iterations=1, advance_s=1 / 120)
    assert np.abs(live.displacement - first).max() < 1e-9


def test_a_tangent_made_beside_the_frames_is_that_of_the_state_it_was_asked_for_however_late():
    live = Interactive(_body())
    live.grasp("grasper", CORNER, 12.0)
    live.move("grasper", CORNER + np.array([0.0, 0.0, 4.0]))
    live.step(iterations=2)
    busy = Event()
    live._beside.submit(busy.wait)
    live._renew(beside=True)
    asked = live.snapshot()
    # While the other thread is busy, the bed is divided; then both are undone.
    live.hold_by([a.release() if a.name == "bed" else a for a in live.body.attachments])
    busy.set()
    late = asked.refactoring.result()[0]
    live.restore(asked)
    live._refactor()
    at_once = live.snapshot().factor
    right = np.ones(len(late.order))
    assert np.array_equal(late.solve(right), at_once.solve(right))


def test_columns_that_are_still_wanted_are_not_worked_out_again(live, monkeypatch):
    monkeypatch.setattr("solver.response.MOST_KEPT", 4)
    answers = Response(live.snapshot().factor, len(live.positions), {})
    whole = [answers.columns(np.array([vertex])) for vertex in (3, 8, 20, 41, 55)]
    asked = []
    solve = answers.to_force
    monkeypatch.setattr(answers, "to_force", lambda force: asked.append(1) or solve(force))
    # The last of five stayed alone: three more fit beside it, then two of those go for the two that come.
    assert np.array_equal(
        answers.columns(np.array([8, 20, 55])), np.concatenate([whole[i] for i in (1, 2, 4)])
    )
    assert len(asked) == 3 * 2
    assert np.array_equal(
        answers.columns(np.array([3, 8, 41, 55])), np.concatenate([whole[i] for i in (0, 1, 3, 4)])
    )
    assert len(asked) == 3 * 4
