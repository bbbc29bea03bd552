import numpy as np
import pytest

from solver.body import Body
from solver.contact import Contact
from solver.damping import Damping
from solver.dynamics import Dynamics
from solver.equilibrium import Equilibrium
from solver.errors import SolverError
from solver.materials import Compressibility, NeoHookean
from solver.rigid import Capsule, DistanceGrid, Plane, Sphere
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block

STILL = (0.0, 0.0, 0.0)


def cube(n=3, gravity=STILL, mu=2.0):
    organ = kuhn_block((20, 20, 20), (n, n, n), {1: "block"})
    corners = organ.points[organ.exterior]
    patches = {
        name: organ.exterior[(np.abs(corners[:, :, axis] - at) < 1e-9).all(axis=1)]
        for name, axis, at in (("top", 2, 20), ("bottom", 2, 0))
    }
    tissue = Tissue("block", NeoHookean(mu), Compressibility(50 * mu), 1e-6, "test")
    return Body(organ, {"block": tissue}, [], gravity, patches=patches)


def held(body, at=0.0, move=(0.0, 0.0, 0.0)):
    vertices = np.flatnonzero(body.organ.points[:, 2] == at)
    return vertices, np.tile(np.asarray(move, dtype=float), (len(vertices), 1))


def ball_on_a_grid():
    axis = np.arange(-10, 10.1, 0.5)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    return DistanceGrid(np.linalg.norm(grid, axis=-1) - 7.0, (0, 0, 17), 0.5)


@pytest.mark.parametrize("element", ["P1", "P2-P1"])
@pytest.mark.parametrize("shape", [Sphere((10, 10, 27), 7.0), Capsule((0, 10, 24), (20, 10, 24), 4.0)])
def test_forces_are_derived_exactly(element, shape):
    body = cube()
    solver = Equilibrium(body, element, [Contact("tool", "top", shape)])
    bound, rng = solver.element.bound[0], np.random.default_rng(0)
    bound.offset = np.array([0.3, 0.2, -1.0])
    x = solver.element.from_vertices(0.2 * rng.normal(size=body.organ.points.shape))
    direction, h = rng.normal(size=len(x)), 1e-6
    change = (bound.force(x + h * direction) - bound.force(x - h * direction)) / (2 * h)
    assert np.abs(change).max() > 1.0
    assert bound.stiffness(x) @ direction == pytest.approx(change, abs=1e-6 * np.abs(change).max())


@pytest.mark.parametrize(
    "shape", [Sphere((10, 10, 27), 7.0), Capsule((0, 10, 27), (20, 10, 27), 7.0), ball_on_a_grid()]
)
def test_a_tool_presses_and_does_not_enter(shape):
    body = cube()
    tool = Contact("tool", "top", shape)
    solver = Equilibrium(body, "P2-P1", [tool])
    bound = solver.element.bound[0]
    tool.move((0, 0, -2.0))
    state = solver.solve(held(body))
    assert state.residual < 1e-9
    assert bound.force_mN == pytest.approx(-state.reaction_mN.sum(axis=0), abs=1e-6)
    assert bound.force_mN[2] < -20
    law = bound._law(bound._positions(state.solution))
    assert law.gap.min() > -2 * bound.tolerance_mm
    assert law.gap[law.pressure > 0].max() < 2 * bound.tolerance_mm
    vertices, pressure = bound.pressure_kPa()
    middle = np.abs(body.organ.points[vertices, 1] - 10) < 5
    assert pressure[middle].max() == pressure.max() > 0
    # Withdrawn, it leaves the tissue as it was.
    tool.move((0, 0, 1.0))
    back = solver.solve(held(body), start=state)
    assert np.abs(back.displacement).max() < 1e-6
    assert not bound.force_mN.any()


def test_the_result_does_not_depend_on_the_penalty():
    forces = []
    for penalty in (10.0, 100.0):
        body = cube()
        tool = Contact("tool", "top", Sphere((10, 10, 27), 7.0), penalty_kPa_mm=penalty, tolerance_mm=1e-4)
        solver = Equilibrium(body, "P1", [tool])
        tool.move((0, 0, -2.0))
        solver.solve(held(body))
        forces.append(solver.element.bound[0].force_mN[2])
    assert forces[0] == pytest.approx(forces[1], rel=1e-3)


def test_a_flat_plate_presses_evenly():
    body = cube(n=2)
    plate = Contact("plate", "top", Plane((0, 0, 20), (0, 0, -1)))
    solver = Equilibrium(body, "P1", [plate])
    plate.move((0, 0, -2.0))
    floor, move = held(body)
    move[:] = np.nan
    move[:, 2] = 0
    corner = [
        int(np.flatnonzero((body.organ.points[floor] == at).all(axis=1))[0]) for at in ((0, 0, 0), (20, 0, 0))
    ]
    move[corner[0]] = 0
    move[corner[1], 1] = 0
    state = solver.solve((floor, move))
    # Uniaxial stretch 0.9: P = µ (λ − 1/λ²), to order µ/K.
    exact = 2.0 * (1 / 0.81 - 0.9)
    assert solver.element.bound[0].pressure_kPa()[1] == pytest.approx(exact, rel=0.01)
    assert np.ptp(solver.element.bound[0].pressure_kPa()[1]) < 1e-3
    assert state.displacement[body.organ.points[:, 2] == 20, 2] == pytest.approx(-2.0, abs=2e-2)


@pytest.mark.parametrize("element", ["P1", "P2-P1"])
def test_friction_sticks_up_to_its_limit_and_slides_at_it(element):
    body = cube(n=2)
    plate = Contact("plate", "bottom", Plane((0, 0, 0), (0, 0, 1)), friction=0.3)
    solver = Equilibrium(body, element, [plate])
    bound = solver.element.bound[0]
    pressed = solver.solve(held(body, 20.0, (0, 0, -1.0)))
    little = solver.solve(held(body, 20.0, (0.1, 0, -1.0)), start=pressed)
    normal, along = bound.force_mN[2], -bound.force_mN[0]
    assert 0 < along < 0.25 * normal
    sole = body.organ.points[:, 2] == 0
    middle = sole & (np.abs(body.organ.points[:, :2] - 10).max(axis=1) < 1)
    assert np.abs((little.displacement - pressed.displacement)[middle]).max() < 0.02
    far = solver.solve(held(body, 20.0, (12.0, 0, -1.0)), start=little)
    assert max(pressed.residual, little.residual, far.residual) < 1e-9
    assert -bound.force_mN[0] == pytest.approx(0.3 * bound.force_mN[2], rel=1e-3)
    assert far.displacement[sole, 0].min() > 1.0
    assert bound.force_mN == pytest.approx(-far.reaction_mN.sum(axis=0), abs=1e-5)


def test_a_cube_dropped_on_a_table_comes_to_lie_on_it():
    body = cube(n=2, gravity=(0, 0, -9810.0), mu=20.0)
    table = Contact("table", "bottom", Plane((0, 0, -0.5), (0, 0, 1)))
    motion = Dynamics(body, "P1", [table], rho_infinity=0.5, damping=Damping(viscosity_kPa_s=0.1))
    frames = list(motion.run(0.3, 0.003))
    weight = 8000 * 1e-6 * 9810
    last = frames[-1]
    assert motion.element.bound[0].force_mN == pytest.approx([0, 0, weight], abs=0.05 * weight)
    assert last.kinetic_energy_uJ < 0.01 * max(f.kinetic_energy_uJ for f in frames)
    assert last.displacement[body.organ.points[:, 2] == 0, 2] == pytest.approx(-0.5, abs=0.05)


def test_what_only_lies_on_a_plane_can_still_slide():
    body = cube(n=2, gravity=(0, 0, -9810.0))
    table = Contact("table", "bottom", Plane((0, 0, 0), (0, 0, 1)))
    with pytest.raises(
        SolverError, match=r"along the x .*, translation along the y .*, rotation about the z"
    ):
        Equilibrium(body, "P1", [table]).solve()


def test_a_push_that_fails_leaves_the_tool_where_it_was():
    body = cube(n=1)
    tool = Contact("tool", "top", Plane((0, 0, 20), (0, 0, -1)))
    solver = Equilibrium(body, "P1", [tool])
    # Nothing may give way sideways, so that the floor is in the way of the tool.
    walls = np.zeros_like(body.organ.points)
    walls[body.organ.points[:, 2] == 20, 2] = np.nan
    inside = (np.arange(len(walls)), walls)
    tool.move((0, 0, -1.0))
    first = solver.solve(inside)
    force = solver.element.bound[0].force_mN
    tool.move((0, 0, -25.0))
    with pytest.raises(SolverError, match="No equilibrium beyond"):
        solver.solve(inside, start=first)
    assert np.array_equal(solver.element.bound[0].force_mN, force)
    tool.move((0, 0, -1.0))
    assert solver.solve(inside, start=first).displacement == pytest.approx(first.displacement, abs=0.02)
    assert solver.element.bound[0].force_mN == pytest.approx(force, rel=0.02)


def test_malformed_contacts_are_refused():
    shape = Sphere((0, 0, 0), 1.0)
    for options, sentence in (
        ({"friction": -0.1}, "friction of 'tool' is -0.1"),
        ({"penalty_kPa_mm": 0.0}, "penalty of the contact with 'tool' is 0"),
        ({"tolerance_mm": -1.0}, "tolerance of the contact"),
    ):
        with pytest.raises(SolverError, match=sentence):
            Contact("tool", "top", shape, **options)
    with pytest.raises(SolverError, match="give x, y, z in mm"):
        Contact("tool", "top", shape).move((1, 2))
    with pytest.raises(SolverError, match="patch 'roof', which the body does not have; it has top, bottom"):
        Equilibrium(cube(n=1), "P1", [Contact("tool", "roof", shape)])
