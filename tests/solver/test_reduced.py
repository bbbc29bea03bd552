import numpy as np
import pytest

from solver.attachments import Attachment
from solver.averaged import Averaged
from solver.body import Body
from solver.errors import SolverError
from solver.interactive import Interactive
from solver.live_error import reference_error
from solver.reduced import Effort, ReducedModel, ReducedTier, grip_of, reduce_grip, spread_places
from solver.reduced.grip import Range, training_moves
from solver.reduced.model import Answer
from solver.reduced.sampling import everything, items_of, non_negative
from solver.reduced.training import solve_moves
from solver.reduced.volume import average_pressure, gradients, pressure_modes, volume_form
from solver.verification.blocks import kuhn_block

PLACE = np.array([80.0, 20.0, 40.0])
OTHER = np.array([80.0, 20.0, 0.0])
RADIUS, REACH = 11.0, 15.0
EFFORT = Effort(rays=14, unseen=4)


def _body(stiffness=0.3):
    block = kuhn_block((80, 40, 40), (8, 4, 4))
    facets, centre = block.exterior, block.points[block.exterior].mean(axis=1)
    held = [
        Attachment("wall", facets[centre[:, 0] < 1e-9], 3.0, 3.0),
        Attachment("bed", facets[centre[:, 1] > 40 - 1e-9], stiffness, stiffness),
    ]
    return Body(block, attachments=held)


@pytest.fixture(scope="module")
def live():
    return Interactive(_body())


@pytest.fixture(scope="module")
def model(live):
    return reduce_grip(live, grip_of(live.body.organ, PLACE, RADIUS, REACH), seed=3, effort=EFFORT)


@pytest.fixture(scope="module")
def tier(live, model):
    return ReducedTier(live, [model])


@pytest.fixture
def held(tier):
    tier.reset()
    tier.grasp("grasper", PLACE, RADIUS)
    return tier


def _pull(tier, move, frames=30):
    for k in range(1, frames + 1):
        tier.move("grasper", PLACE + np.asarray(move) * k / frames)
        frame = tier.step(iterations=3, advance_s=0.001)
    return frame


def test_cubic_form_is_the_change_of_volume_and_its_force_is_its_derivative(live):
    averaged, random = Averaged(live.body), np.random.default_rng(1)
    basis = 0.3 * random.standard_normal((5, averaged.vertices, 3))
    rest = 0.1 * random.standard_normal((averaged.vertices, 3))
    pressures = np.array([average_pressure(averaged, rest + b) for b in basis])
    modes = pressure_modes(averaged, pressures, 1e-9, 4)
    size = averaged.average_volume / averaged.average_stiffness
    assert modes * size @ modes.T == pytest.approx(np.eye(len(modes)), abs=1e-9)
    form = volume_form(averaged, rest, basis, 3, modes)

    def energy(z):
        F = gradients(averaged.points, averaged.tets, rest + np.tensordot(z, basis, 1)) + np.eye(3).ravel()
        change = averaged.volumes * (np.linalg.det(F.reshape(-1, 3, 3)) - 1)
        g = modes[:, averaged.average].mean(axis=2) @ change
        return 0.5 * g @ g

    z, step = np.array([0.4, -0.3, 0.2]), 1e-5
    forces = form.forces(z, 5)
    for k in range(5):
        shift = step * np.eye(5)[k]
        slope = (energy(np.append(z, [0, 0]) + shift) - energy(np.append(z, [0, 0]) - shift)) / (2 * step)
        assert forces[k] == pytest.approx(slope, rel=1e-5)
    for k in range(3):
        shift = step * np.eye(3)[k]
        slope = (form.forces(z + shift, 3) - form.forces(z - shift, 3)) / (2 * step)
        assert form.tangent(z)[k] == pytest.approx(slope, rel=1e-5, abs=1e-4 * np.abs(form.tangent(z)).max())


def test_unsampled_law_and_cubic_volume_are_the_force_of_the_live_discretisation(live, model):
    """With every cell and every pressure, the reduced force is the full one on the basis."""
    averaged, basis = Averaged(live.body), model.basis.astype(float)[: model.size]
    items = items_of(averaged, model.rest, basis, everything(averaged))
    identity = np.eye(len(averaged.average_volume))
    scale = np.sqrt(averaged.average_stiffness / averaged.average_volume)
    form = volume_form(averaged, model.rest, basis[:4], 4, identity * scale)
    z = np.array([2.0, -1.0, 3.0, 0.5])
    force = form.forces(z, 4) + model.quadratic[:4, :4] @ z + model.linear[:4]
    full = np.zeros(model.size)
    for group in items:
        group.add_force(np.append(z, np.zeros(model.size - 4)), full)
    u = model.rest + np.tensordot(z, basis[:4], 1)
    expected = basis[:4].reshape(4, -1) @ averaged.evaluate(u, 0.0)[1].ravel()
    assert force + full[:4] == pytest.approx(expected, rel=1e-6, abs=1e-6 * np.abs(expected).max())


def test_tangent_is_the_derivative_of_the_force(live, model):
    answer = Answer(model, Averaged(live.body), model.rest)
    assert answer.follow(np.array([[3.0, -2.0, 6.0]]))[1]
    z, step = answer.z, 1e-5
    for k in (0, 2, 4, model.size - 1):
        shift = step * np.eye(len(z))[k]
        slope = (answer.force(z + shift) - answer.force(z - shift)) / (2 * step)
        assert answer.tangent(z)[k] == pytest.approx(slope, rel=1e-4, abs=1e-5 * np.abs(slope).max())


def test_sparse_least_squares_finds_few_positive_weights():
    random = np.random.default_rng(4)
    matrix = random.uniform(0, 1, (30, 500))
    target = matrix.sum(axis=1)
    points, weights = non_negative(matrix, target, 1e-6, 100)
    assert len(points) <= 30
    assert (weights > 0).all()
    assert matrix[:, points] @ weights == pytest.approx(target, rel=1e-5)
    with pytest.raises(SolverError, match=r"3 sampled cells leave .* reduce the reach"):
        non_negative(matrix, target, 1e-6, 3)


def test_sparse_least_squares_does_not_trust_points_that_hardly_contribute():
    random = np.random.default_rng(5)
    matrix = random.uniform(0, 1, (20, 300))
    matrix[:, 100:] = 1e-9 * random.standard_normal((20, 200))
    points, weights = non_negative(matrix, matrix.sum(axis=1), 1e-6, 100)
    assert (points < 100).all()
    assert weights.max() < 300


def test_unseen_pulls_are_within_one_per_cent(live, model):
    """Held against the converged full order on pulls that neither training nor calibration saw."""
    grip = model.grip
    moves = Range.around(model.moves).draw(6, seed=99)
    truth = solve_moves(live, grip, [move[None] for move in moves], 0.002)
    answer = Answer(model, Averaged(live.body), model.rest)
    for move, field, force in zip(truth.moves, truth.displacement, truth.forces_N, strict=True):
        answer.begin()
        assert answer.follow(move)[1]
        error = np.linalg.norm(answer.displacement() - model.rest - field, axis=1).max()
        assert error < 0.01 * np.linalg.norm(field, axis=1).max()
        assert np.linalg.norm(answer.forces_N() - force) < 0.01 * np.linalg.norm(force)


def test_patch_follows_its_tool_exactly(held):
    frame = _pull(held, (4.0, -2.0, 6.0))
    assert frame.tier == "reduced"
    patch = held._grip.model.grip.patches[0]
    assert held.displacement[patch] == pytest.approx(np.tile([4.0, -2.0, 6.0], (len(patch), 1)), abs=0.01)


def test_force_is_that_of_the_full_order_and_the_estimate_covers_the_error(held):
    frame = _pull(held, (4.0, -2.0, 6.0))
    mine, force, told = held.displacement, frame.forces_N["grasper"], frame
    held._hand_over("compared")
    full = held.live.settle(0.002)
    error = np.linalg.norm(mine - held.live.displacement, axis=1).max()
    # An estimate measured on few pulls: right within a factor of two.
    assert error < 2 * told.distance_mm + 0.005
    assert force == pytest.approx(full.forces_N["grasper"], abs=0.01 * np.linalg.norm(force))


def test_a_pull_far_outside_is_handed_over_and_goes_on_from_the_reduced_state(held):
    inside = np.array([0.0, 0.0, 0.8 * REACH])
    assert _pull(held, inside).tier == "reduced"
    before = held.displacement
    held.move("grasper", PLACE + np.array([0.0, 0.0, 1.6 * REACH]))
    frame = held.step(iterations=0)
    assert (frame.tier, frame.reason) == ("full", "the pull leaves the trained range")
    assert held.tier == "full"
    # One carried piece of the way, no jump anywhere.
    assert np.linalg.norm(held.displacement - before, axis=1).max() < 6.0
    frames = [held.step(iterations=3) for _ in range(20)]
    assert all(f.tier == "full" and f.reason for f in frames)
    assert held.live.settle(0.002).state == "converged"
    assert reference_error(held.live)[1] < 0.02
    patch = held._grip.model.grip.patches[0]
    assert held.displacement[patch, 2] == pytest.approx(1.6 * REACH, abs=0.02)


def test_handed_over_state_needs_hardly_any_correction(held):
    _pull(held, (3.0, -2.0, 8.0))
    before = held.displacement
    held._hand_over("compared")
    assert held.displacement == pytest.approx(before, abs=1e-5)
    frame = held.live.step(iterations=0)
    assert frame.distance_mm < 0.2
    assert frame.forces_N["grasper"] == pytest.approx(held.live.settle(0.002).forces_N["grasper"], abs=0.1)


def test_what_is_divided_while_the_reduced_model_answers_holds_no_more_after_it(live, held):
    _pull(held, (0.0, -1.0, 5.0))
    assert held.tier == "reduced"
    live.hold_by([a.release() if a.name == "bed" else a for a in live.body.attachments])
    frame = held.step(iterations=0)
    assert (frame.tier, frame.reason) == ("full", "the tissue is held by other attachments")
    held.live.settle(0.002)
    assert reference_error(held.live)[1] < 0.02


def test_comes_back_to_the_reduced_model_inside_the_range(held):
    _pull(held, (0.0, 0.0, 0.8 * REACH))
    held.move("grasper", PLACE + np.array([0.0, 0.0, 1.3 * REACH]))
    assert held.step(iterations=5).tier == "full"
    held.move("grasper", PLACE + np.array([1.0, 0.0, 0.5 * REACH]))
    tiers = [held.step(iterations=5).tier for _ in range(30)]
    assert tiers[-1] == "reduced"
    truth, again = held.displacement, tiers.index("reduced")
    assert again > 0
    held._hand_over("compared")
    held.live.settle(0.002)
    assert np.linalg.norm(truth - held.live.displacement, axis=1).max() < 0.01 * REACH


def test_an_error_that_is_estimated_too_large_is_handed_over(live, model):
    """Cells weighted as if there were half as much tissue: the control, which samples others, contradicts."""
    from dataclasses import replace

    wrong = replace(model, sample=replace(model.sample, weights=tuple(0.5 * w for w in model.sample.weights)))
    tier = ReducedTier(live, [wrong])
    tier.grasp("grasper", PLACE, RADIUS)
    for k in range(1, 31):
        tier.move("grasper", PLACE + np.array([0.0, 0.0, 10.0]) * k / 30)
        frame = tier.step(iterations=3)
        if frame.tier == "full":
            break
    assert frame.reason == "the estimated error is too large"


def test_grasps_elsewhere_moved_tissue_and_letting_go_are_the_full_order_s(held):
    _pull(held, (0.0, 0.0, 5.0))
    held.grasp("second", OTHER, RADIUS)
    frame = held.step(iterations=3)
    assert frame.tier == "full"
    assert set(frame.forces_N) == {"grasper", "second"}
    held.release("second")
    held.release("grasper")
    frames = [held.step(iterations=5) for _ in range(20)]
    assert all(f.tier == "full" for f in frames)
    assert np.abs(held.displacement).max() < 0.05
    held.grasp("grasper", PLACE + np.array([0.0, 0.0, -2.0]), RADIUS)
    assert held.tier == "reduced"
    with pytest.raises(SolverError, match="already holds tissue"):
        held.grasp("grasper", PLACE, RADIUS)
    with pytest.raises(SolverError, match="holds no tissue"):
        held.move("left", PLACE)


def test_same_pulls_give_the_same_bits(held):
    first = _pull(held, (2.0, 1.0, 7.0)).forces_N["grasper"]
    held.reset()
    held.grasp("grasper", PLACE, RADIUS)
    assert np.array_equal(_pull(held, (2.0, 1.0, 7.0)).forces_N["grasper"], first)


def test_model_goes_through_arrays_unchanged(live, model):
    again = ReducedModel.from_arrays(model.to_arrays())
    averaged = Averaged(live.body)
    one, two = (Answer(m, averaged, m.rest) for m in (model, again))
    move = np.array([[1.0, 2.0, 5.0]])
    assert one.follow(move) == two.follow(move)
    assert np.array_equal(one.z, two.z)
    assert again.accuracy == model.accuracy
    lost = model.to_arrays()
    del lost["basis"]
    with pytest.raises(SolverError, match="lacks 'basis'"):
        ReducedModel.from_arrays(lost)
    with pytest.raises(SolverError, match="another version"):
        ReducedModel.from_arrays({})


def test_another_body_is_refused(model):
    other = Interactive(_body(stiffness=0.4))
    with pytest.raises(SolverError, match="other attachments; make it anew"):
        ReducedTier(other, [model])


def test_two_tools_are_one_grip(live):
    grip = grip_of(live.body.organ, [PLACE, OTHER], RADIUS, 10.0)
    model = reduce_grip(live, grip, seed=5, effort=Effort(rays=12, unseen=3, most_modes=30, sampling=4e-3))
    tier = ReducedTier(live, [model])
    tier.grasp("right", OTHER, RADIUS)
    assert tier.tier == "full"
    tier.grasp("left", PLACE, RADIUS)
    assert tier.tier == "reduced"
    for k in range(1, 21):
        tier.move("left", PLACE + np.array([1.0, 0.0, 5.0]) * k / 20)
        tier.move("right", OTHER + np.array([0.0, 1.0, -4.0]) * k / 20)
        frame = tier.step()
    assert frame.tier == "reduced"
    mine = tier.displacement
    tier._hand_over("compared")
    full = tier.live.settle(0.002)
    assert np.linalg.norm(mine - tier.live.displacement, axis=1).max() < 0.02 * 5.1
    for tool in ("left", "right"):
        assert frame.forces_N[tool] == pytest.approx(
            full.forces_N[tool], abs=0.02 * np.linalg.norm(full.forces_N[tool])
        )


def test_training_moves_span_their_cone_and_are_seeded(live):
    grip = grip_of(live.body.organ, PLACE, RADIUS, REACH)
    rays = training_moves(grip, 20, 7)
    moves = np.concatenate(rays)
    assert np.array_equal(moves, np.concatenate(training_moves(grip, 20, 7)))
    assert np.linalg.norm(moves[:, 0], axis=1).max() == pytest.approx(REACH)
    around = Range.around(moves)
    assert around.beyond((0.8 * REACH * grip.normals[0],)) < 0
    assert around.beyond((np.zeros(3),)) < -0.2
    assert around.beyond((1.1 * REACH * grip.normals[0],)) > 0
    assert around.beyond((-0.5 * REACH * grip.normals[0],)) > 0
    drawn = around.draw(50, 1)
    assert max(around.beyond((d[0],)) for d in drawn) < 0


def test_places_spread_over_the_free_surface(live):
    organ = live.body.organ
    held = np.unique(np.concatenate([a.facets.ravel() for a in live.body.attachments]))
    places = spread_places(organ, held, 5)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(5)
    assert apart.min() > 20
    assert not set(map(tuple, places)) & set(map(tuple, organ.points[held]))
    with pytest.raises(SolverError, match="inside the organ"):
        grip_of(organ, [40.0, 20.0, 20.0], 4.0)
    with pytest.raises(SolverError, match="nothing there to grasp"):
        grip_of(organ, [200.0, 20.0, 20.0], 4.0)
    with pytest.raises(SolverError, match="reach of a pull"):
        grip_of(organ, PLACE, 4.0, -1.0)


def test_a_stop_while_training_leaves_the_tissue_reset(live):
    calls = []

    def stop(stage, share):
        calls.append(stage)
        if len(calls) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reduce_grip(live, grip_of(live.body.organ, PLACE, RADIUS, REACH), effort=EFFORT, progress=stop)
    assert live.tools == {}
    assert np.abs(live.displacement).max() < 0.02


def test_what_an_expansion_leaves_out_is_bounded(live, model):
    """The third order of the change of volume, summed in full, moves no vertex farther than the bound says."""
    answer = Answer(model, Averaged(live.body), model.rest)
    assert answer.follow(np.array([[2.0, -2.0, 6.0]]))[1]
    random, k = np.random.default_rng(6), 3 * model.grip.tools
    modes = model.basis[k:].astype(float)
    about = model.volume.expand(answer.z)
    for size in (0.01, 0.1, 1.0):
        shift = size * random.standard_normal(model.size)
        z = about.origin + shift
        lacking = model.volume.forces(z, len(model.linear)) - about.forces(z, len(model.linear))
        step = np.linalg.solve(model.stiffness[k:, k:], lacking[k:])
        moved = np.linalg.norm(np.tensordot(step, modes, 1), axis=1).max()
        bound = answer._left_out.distance_mm(shift, *about.changes(z))
        assert 0 < moved <= bound
    # The bound shrinks with the square of the shift, so that expansions last for many frames.
    small = answer._left_out.distance_mm(shift / 1000, *about.changes(about.origin + shift / 1000))
    assert small < 1e-5 * bound


def test_frames_leave_out_less_than_they_are_converged_to(held):
    answer, expansions = held._grip, []
    for k in range(1, 201):
        held.move("grasper", PLACE + np.array([3.0, -2.0, 8.0]) * k / 200)
        assert held.step().tier == "reduced"
        z, about = answer.z, answer._volume
        if not expansions or about is not expansions[-1]:
            expansions.append(about)
        assert answer._left_out.distance_mm(z - about.origin, *about.changes(z)) <= answer.LEFT_OUT_MM
        exact = answer.model.volume.forces(z, len(z))
        assert about.forces(z, len(z)) == pytest.approx(exact, abs=1e-4 * np.abs(exact).max())
    assert len(expansions) < 100
