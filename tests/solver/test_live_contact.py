import numpy as np
import pytest

from solver.attachments import Attachment
from solver.body import Body
from solver.errors import SolverError
from solver.interactive import Interactive
from solver.live_contact import LiveContact
from solver.tools import Tool
from solver.topology import TopologyChange
from solver.verification.blocks import kuhn_block

TOP, RADIUS = 20.0, 6.0
MIDDLE = np.array([20.0, 20.0, TOP + RADIUS])


def body():
    organ = kuhn_block((40, 40, TOP), (8, 8, 4))
    corners = organ.points[organ.exterior]
    floor, top = (organ.exterior[(corners[:, :, 2] == at).all(axis=1)] for at in (0.0, TOP))
    bed = Attachment("bed", floor, 20.0, 20.0)
    return Body(organ, attachments=[bed], gravity_mm_s2=(0, 0, 0), patches={"top": top})


@pytest.fixture(scope="module")
def module_live():
    return Interactive(body())


@pytest.fixture
def live(module_live):
    module_live.reset()
    return module_live


def touch(live, name="probe", at=MIDDLE, tool=None, friction=0.0):
    tool = tool or Tool.ball(RADIUS)
    live.add_load(name, LiveContact.on(name, live.body, tool.at(at), friction))


def press(live, depth, frames=8, iterations=3, name="probe", at=MIDDLE):
    for k in range(1, frames + 1):
        live.steer(name, at - np.array([0, 0, depth * k / frames]))
        live.step(iterations=iterations)
    return live.settle(1e-4)


def box(size):
    """A closed box as triangles, turned outwards."""
    organ = kuhn_block(size, (1, 1, 1))
    return organ.points - np.asarray(size) / 2, organ.exterior


TOOLS = {
    "ball": Tool.ball(RADIUS),
    "rod": Tool.rod(RADIUS, (0.0, 30.0, 10.0)),
    "instrument": Tool.instrument(*box((9.0, 9.0, 2 * RADIUS)), spacing_mm=1.0),
    "turned": Tool.rod(RADIUS, (0.0, 0.0, 30.0)).turned([[0, 0, 1], [0, 1, 0], [-1, 0, 0]]),
}


@pytest.mark.parametrize("name", TOOLS)
@pytest.mark.parametrize("friction", [0.0, 0.4])
def test_forces_and_stiffness_are_derivatives_of_the_energy(live, name, friction):
    contact = LiveContact.on("tool", live.body, TOOLS[name].at(MIDDLE - [0, 0, 0.3]), friction)
    rng = np.random.default_rng(0)
    x = live.positions + 0.05 * rng.normal(size=live.positions.shape)
    contact = contact.begun(x, 0.0)
    x = x + 0.01 * rng.normal(size=x.shape)
    direction, h = rng.normal(size=x.shape), 1e-6
    ahead, behind = (contact.evaluate(x + s * h * direction) for s in (1, -1))
    energy, gradient = contact.evaluate(x)
    assert energy > 0
    assert (ahead[0] - behind[0]) / (2 * h) == pytest.approx(float(np.vdot(gradient, direction)), rel=1e-5)
    vertices, matrix = contact.coupled_stiffness(x)
    change = ((ahead[1] - behind[1]) / (2 * h))[vertices].ravel()
    assert matrix @ direction[vertices].ravel() == pytest.approx(change, abs=2e-5 * np.abs(change).max())
    convex = contact.coupled_stiffness(x, convex=True)[1]
    assert np.linalg.eigvalsh(convex).min() > -1e-9 * np.abs(convex).max()


def test_what_the_tool_pushes_the_supports_carry(live):
    touch(live)
    frame = press(live, 4.0)
    assert frame.state == "converged"
    bed = live.body.attachments[0]
    u = live.displacement[bed.facets].mean(axis=1)
    a, b, c = (live.body.reference_points[bed.facets[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    carried = -20.0 * (area[:, None] * u).sum(axis=0) / 1000
    assert frame.forces_N["probe"] + carried == pytest.approx(np.zeros(3), abs=2e-4)
    assert live.loads["probe"].penetration_mm(live.positions) < 0.1


def test_a_frame_takes_few_iterations(live):
    """A tool that goes 12 mm/s at 30 frames a second, deeper than its radius, with three iterations a frame."""
    touch(live)
    behind = []
    for k in range(1, 21):
        live.steer("probe", MIDDLE - np.array([0, 0, 0.4 * k]))
        frame = live.step(iterations=3)
        behind.append(frame.distance_mm)
    assert np.median(behind) < 0.02
    # More where another vertex of the coarse mesh comes into contact.
    assert max(behind) < 0.1
    assert frame.minimum_jacobian > 0.3


def rubbing(live):
    """What friction adds to the force of the probe, N, its limit, and where the tissue under the probe is, mm."""
    contact, positions = live.loads["probe"], live.positions
    push, normal = contact.pushed_N(positions)
    rubbed = float(np.linalg.norm(contact.forces_N(positions)["probe"] - push))
    return rubbed, 0.3 * normal, contact.touch(positions).place.mean(axis=0)


def test_friction_sticks_and_then_slides_at_its_limit(live):
    touch(live, friction=0.3)
    press(live, 2.0)
    top = np.flatnonzero((live.body.organ.points == [20, 20, TOP]).all(axis=1))
    before = live.positions[top]
    for k in range(1, 4):
        live.steer("probe", MIDDLE + np.array([0.1 * k, 0, -2.0]))
        live.step(iterations=6)
    live.settle(1e-4)
    rubbed, limit, _ = rubbing(live)
    assert 0.01 < rubbed < 0.8 * limit
    assert (live.positions[top] - before)[0, 0] == pytest.approx(0.3, abs=0.05)
    for k in range(1, 31):
        live.steer("probe", MIDDLE + np.array([0.3 + 0.2 * k, 0, -2.0]))
        live.step(iterations=6)
    rubbed, limit, place = rubbing(live)
    assert rubbed == pytest.approx(limit, rel=0.05)
    assert place[0] - before[0, 0] > 4.0
    assert (live.positions[top] - before)[0, 0] < 2.0


def test_without_friction_nothing_holds_along_the_surface(live):
    touch(live)
    press(live, 2.0)
    force = live.settle(1e-4).forces_N["probe"]
    assert np.abs(force[:2]).max() < 0.02 * abs(force[2])


def test_two_tools_squeeze_with_opposite_forces():
    organ = kuhn_block((30, 20, 20), (6, 4, 4))
    wall = organ.exterior[(organ.points[organ.exterior][:, :, 0] == 0).all(axis=1)]
    live = Interactive(
        Body(organ, attachments=[Attachment("wall", wall, 20.0, 20.0)], gravity_mm_s2=(0, 0, 0))
    )
    places = {"upper": np.array([22.5, 10.0, 26.0]), "lower": np.array([22.5, 10.0, -6.0])}
    for name, place in places.items():
        touch(live, name, place)
    for k in range(1, 9):
        live.steer("upper", places["upper"] - [0, 0, 0.3 * k])
        live.steer("lower", places["lower"] + [0, 0, 0.3 * k])
        live.step(iterations=4)
    frame = live.settle(1e-4)
    assert frame.forces_N["upper"][2] < -0.1
    # The mesh is not the same upside down, and the wall carries what is left over.
    assert frame.forces_N["lower"][2] == pytest.approx(-frame.forces_N["upper"][2], rel=0.05)


@pytest.mark.parametrize("iterations", [1, 3])
def test_a_fast_tool_does_not_tunnel(live, iterations):
    touch(live, tool=Tool.ball(3.0), at=MIDDLE)
    live.steer("probe", [20.0, 20.0, 8.0])
    behind = []
    for _ in range(60):
        frame = live.step(iterations=iterations)
        contact = live.loads["probe"]
        behind.append(contact.lag_mm)
        assert contact.penetration_mm(live.positions) < 3.0
        assert frame.minimum_jacobian > 0.1
        # The surface is below the ball wherever it has come to.
        top = np.flatnonzero(live.body.organ.points[:, 2] == TOP)
        near = np.linalg.norm(live.positions[top, :2] - [20, 20], axis=1) < 2.0
        assert (live.positions[top[near], 2] < contact.tool.position_mm[2]).all()
    assert behind[0] > 1.0
    assert frame.forces_N["probe"][2] < -0.1


def test_in_free_air_a_tool_is_where_it_was_told_at_once(live):
    touch(live, at=MIDDLE + np.array([0, 0, 40]))
    live.steer("probe", MIDDLE + np.array([30, 5, 30]))
    frame = live.step(iterations=1)
    assert live.loads["probe"].lag_mm == 0
    assert not frame.forces_N["probe"].any()


def test_states_with_contact_repeat_and_come_back(live):
    touch(live, friction=0.2)
    press(live, 2.0, iterations=2)
    saved = live.snapshot()

    def stroke():
        for k in range(1, 6):
            live.steer("probe", MIDDLE + np.array([0.5 * k, 0, -2.0]))
            live.step(iterations=2, advance_s=1 / 30)
        return live.displacement

    first = stroke()
    live.restore(saved)
    assert np.array_equal(stroke(), first)


def test_a_tool_beside_a_grasper(live):
    live.grasp("grasper", [0.0, 0.0, TOP], 6.0)
    live.move("grasper", [0.0, 0.0, TOP + 5.0])
    touch(live)
    frame = press(live, 3.0)
    assert frame.forces_N["grasper"][2] > 0 > frame.forces_N["probe"][2]
    assert frame.displacement[live.held_by("grasper"), 2] == pytest.approx(5.0, abs=1e-3)
    live.release("grasper")
    assert live.settle(1e-3).state == "converged"


def test_contact_follows_a_change_of_topology(live):
    organ = live.body.organ
    n, m = len(organ.points), len(organ.tets)
    every = np.arange(n)
    same = TopologyChange(
        organ, organ, np.column_stack([every, every]), np.zeros(n), np.arange(m), np.zeros((0, 3), dtype=int)
    )
    touch(live, friction=0.2)
    press(live, 2.0)
    before = live.loads["probe"]
    after = before.carried(same)
    assert after.evaluate(live.positions)[0] == pytest.approx(before.evaluate(live.positions)[0], rel=1e-12)
    assert np.array_equal(after.stuck.anchor, before.stuck.anchor, equal_nan=True)


def test_malformed_tools_are_refused(live):
    with pytest.raises(SolverError, match="friction of 'probe' is -1"):
        touch(live, friction=-1)
    with pytest.raises(SolverError, match="place of a tool"):
        Tool.ball(1.0).at((0, np.nan, 0))
    with pytest.raises(SolverError, match="orthogonal"):
        Tool.ball(1.0).turned(np.ones((3, 3)))
    with pytest.raises(SolverError, match="no load 'nothing'"):
        live.steer("nothing", (0, 0, 0))
