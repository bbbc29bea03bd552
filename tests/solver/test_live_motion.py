import numpy as np
import pytest

from solver.actions import Grasp, Hold, Pull, Release, Respond, from_json
from solver.attachments import Attachment
from solver.body import Body
from solver.damping import Damping
from solver.dynamics import Dynamics
from solver.errors import SolverError
from solver.field import OperativeField
from solver.interactive import Interactive
from solver.live_motion import Motion
from solver.live_relaxation import LiveRelaxation
from solver.materials import Compressibility, NeoHookean, PronySeries
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block

TISSUE = Tissue("block", NeoHookean(2.0), Compressibility(20.0), 1e-6, "test")
TOP = (0.0, 0.0, 40.0)


def column(gravity=(0.0, 0.0, 0.0), tissue=TISSUE):
    organ = kuhn_block((20.0, 20.0, 40.0), (3, 3, 6), {1: "block"})
    floor = organ.exterior[(organ.points[organ.exterior][:, :, 2] < 1e-9).all(axis=1)]
    return Body(organ, {"block": tissue}, [Attachment("floor", floor, 50.0, 50.0)], gravity)


@pytest.fixture(scope="module")
def live():
    return Interactive(column())


def swing(live, steps, step_s, mass_per_s, viscosity):
    """Bend the column by a sideways weight, take it away, and follow the top."""
    live.reset()
    pulled = Interactive(column((600.0, 0.0, 0.0)), resting=False)
    live._u = pulled._u.copy()
    live._reconsider()
    live.add_load("inertia", Motion.of(live.body, live.positions, mass_per_s, viscosity))
    top = np.flatnonzero(live.body.organ.points[:, 2] > 39.9)
    return np.array(
        [live.step(iterations=20, advance_s=step_s).displacement[top, 0].mean() for _ in range(steps)]
    ), pulled.displacement


def reference(start, steps, step_s, mass_per_s, viscosity):
    body = column()
    motion = Dynamics(body, "P1-averaged", rho_infinity=1.0, damping=Damping(mass_per_s, viscosity))
    motion.start(start)
    top = np.flatnonzero(body.organ.points[:, 2] > 39.9)
    return np.array([motion.step(step_s).displacement[top, 0].mean() for _ in range(steps)])


@pytest.mark.parametrize(("mass_per_s", "viscosity"), [(6.0, 0.0), (0.0, 0.02)])
def test_a_bent_column_swings_as_the_reference_tier_says(live, mass_per_s, viscosity):
    errors = []
    for steps in (30, 60):
        found, start = swing(live, steps, 0.25 / steps, mass_per_s, viscosity)
        expected = reference(start, steps, 0.25 / steps, mass_per_s, viscosity)
        assert np.ptp(expected) > 1.2 * np.abs(expected).max()  # it swings through
        errors.append(np.abs(found - expected).max() / np.abs(expected).max())
    # The reference tier's steps are other ones, of second order as well; only the first of these is of first order.
    assert errors[1] < 0.03
    assert errors[0] / errors[1] > 2.7


def test_it_comes_to_rest_where_equilibrium_is(live):
    field = OperativeField(live)
    rest = live.displacement.copy()
    for act in (
        Respond("dynamic"),
        Grasp("g", point_mm=TOP),
        Pull("g", (6.0, 0.0, 0.0), 0.3),
        Release("g", 0.1),
    ):
        for frame in act.run(field):
            assert np.isfinite(frame.displacement).all()
    moved = [np.abs(f.displacement).max() for f in Hold(2.0).run(field)]
    assert max(moved) > 1.0
    assert moved[-1] < 0.02
    assert np.abs(live.displacement - rest).max() < 0.02


def run(live, frame_s):
    field = OperativeField(live)
    for act in (Respond("dynamic"), Grasp("g", point_mm=TOP), Pull("g", (4.0, 0.0, 0.0), 0.2), Hold(0.2)):
        for _ in act.run(field, frame_s=frame_s):
            pass
    return field.state_hash(), live.displacement.copy()


def test_the_time_step_does_not_depend_on_the_frame_rate_and_replays_agree(live):
    first, slow = run(live, 1.0 / 30.0)
    assert run(live, 1.0 / 30.0)[0] == first
    # The tool moves in finer steps at twice the frame rate; the tissue's clock is the same.
    fast = run(live, 1.0 / 60.0)[1]
    assert np.abs(fast - slow).max() < 0.4
    assert live.time_s == pytest.approx(0.4 + 2 / 60, abs=0.04)


def test_frames_between_time_steps_move_nothing(live):
    """A tool seen four times as often, at the same place at the end of each time step, leaves the same tissue."""
    ends, efforts = [], []
    for frames in (1, 4):
        field = OperativeField(live)
        field.move_in_time(1.0 / 60.0)
        live.grasp("g", TOP)
        for k in range(1, 8 * frames + 1):
            live.move("g", TOP + np.array([4.0 * k / (8 * frames), 0.0, 0.0]))
            frame = field.step(iterations=30, advance_s=1.0 / (60.0 * frames))
        ends.append(frame.displacement)
        efforts.append(field.effort.tools["g"])
    assert efforts[1].work_mJ == pytest.approx(efforts[0].work_mJ, rel=1e-3)
    assert efforts[1].impulse_N_s == pytest.approx(efforts[0].impulse_N_s, rel=1e-3)
    assert np.abs(ends[1] - ends[0]).max() < 1e-4
    assert np.abs(ends[0]).max() > 3.0


def test_undo_brings_the_motion_back(live):
    field = OperativeField(live)
    for act in (Respond("dynamic"), Grasp("g", point_mm=TOP), Pull("g", (4.0, 0.0, 0.0), 0.1)):
        for _ in act.run(field):
            pass
    before = field.snapshot()

    def go_on():
        for _ in Hold(0.2).run(field):
            pass
        return field.state_hash()

    first = go_on()
    field.restore(before)
    assert go_on() == first
    for _ in Respond("quasi-static").run(field):
        pass
    assert not live.loads
    assert from_json(Respond("dynamic").to_json()) == Respond("dynamic")
    with pytest.raises(SolverError, match="dynamic, quasi-static"):
        Respond("slow")


def test_sheared_tissue_relaxes_as_its_prony_series():
    """Simple shear keeps the volume and its stress is that of the law alone; G/G0 as in VERIFICATION."""
    series = PronySeries((0.3, 0.3), (1.0, 10.0))
    tissue = Tissue("block", NeoHookean(2.0), Compressibility(100.0), 1e-6, "test", relaxation=series)
    organ = kuhn_block((20.0, 20.0, 20.0), (2, 2, 2), {1: "block"})
    body = Body(organ, {"block": tissue}, [], (0.0, 0.0, 0.0))
    load = LiveRelaxation.of(body, organ.points)
    assert load is not None
    sheared = organ.points + 0.3 * organ.points[:, 2:] * np.array([1.0, 0.0, 0.0])
    top = organ.points[:, 2] == 20.0
    elastic = 2.0 * 0.3 * 400.0
    load = load.begun(organ.points, 1e-6).committed(sheared, 0.0)
    at = 1e-6
    for time_s, share in ((1.0, 0.781815), (10.0, 0.510377), (100.0, 0.400014)):
        load = load.begun(sheared, time_s - at)
        at = time_s
        # What relaxation takes away of the elastic force.
        missing = load.evaluate(sheared)[1][top, 0].sum()
        assert 1.0 + missing / elastic == pytest.approx(share, abs=2e-4)
        load = load.committed(sheared, time_s)


def test_gradients_are_derivatives_of_the_energies(live):
    live.reset()
    body = live.body
    tissue = Tissue("block", NeoHookean(2.0), Compressibility(100.0), 1e-6, "test",
                    relaxation=PronySeries((0.3, 0.3), (1.0, 10.0)))  # fmt: skip
    viscous = column(tissue=tissue)
    generator = np.random.default_rng(1)
    x = body.organ.points
    loads = [Motion.of(body, x, 3.0, 0.02), LiveRelaxation.of(viscous, x)]
    for load in loads:
        assert load is not None
        bent = x + 0.3 * generator.normal(size=x.shape)
        load = load.begun(x, 0.02).committed(bent, 0.0).begun(bent, 0.02)
        at, way = bent + 0.2 * generator.normal(size=x.shape), generator.normal(size=x.shape)
        difference = (load.evaluate(at + 1e-5 * way)[0] - load.evaluate(at - 1e-5 * way)[0]) / 2e-5
        assert float(np.vdot(load.evaluate(at)[1], way)) == pytest.approx(difference, rel=1e-6)
