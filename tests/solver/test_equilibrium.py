import numpy as np
import pytest

from solver import elements, equilibrium, linear
from solver.attachments import Attachment
from solver.body import Body
from solver.equilibrium import Equilibrium
from solver.errors import SolverError
from solver.loads import Pressure, Traction
from solver.materials import Compressibility, Guccione, NeoHookean, SaintVenantKirchhoff
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block

STILL = (0.0, 0.0, 0.0)
SOFT = Tissue("block", NeoHookean(2.0), Compressibility(100.0), 1e-6, "test")


def block(n=2, length=40, **options):
    organ = kuhn_block((length, 20, 20), (2 * n, n, n), {1: "block"})
    return Body(organ, {"block": SOFT}, options.pop("attachments", []), **{"gravity_mm_s2": STILL, **options})


def face(body, axis, value):
    return np.flatnonzero(np.abs(body.organ.points[:, axis] - value) < 1e-9)


def sheared(body, by_mm):
    left, right = face(body, 0, 0), face(body, 0, 40)
    move = np.zeros((len(left) + len(right), 3))
    move[len(left) :, 1] = by_mm
    return np.r_[left, right], move


@pytest.mark.parametrize("element", ["P1", "P1-averaged", "P1-P1", "P2", "P2-P1"])
def test_forces_balance_and_work_equals_energy(element):
    body = block()
    vertices, move = sheared(body, 4.0)
    state = Equilibrium(body, element).solve((vertices, move))
    assert np.abs(state.reaction_mN.sum(axis=0)).max() < 1e-6
    assert np.array_equal(state.displacement[vertices], move)
    # By virtual work dE/d(by) is the reaction along the move.
    step = 0.01
    energies = [
        Equilibrium(body, element).solve((vertices, move * (1 + s * step / 4))).strain_energy_uJ
        for s in (1, -1)
    ]
    reaction = state.reaction_mN[move[:, 1] > 0, 1].sum()
    assert (energies[0] - energies[1]) / (2 * step) == pytest.approx(reaction, rel=1e-5)


def test_averaged_tetrahedra_give_the_published_reaction():
    body = block(n=8)
    vertices, move = sheared(body, 6.0)
    state = Equilibrium(body, "P1-averaged").solve((vertices, move))
    assert state.reaction_mN[move[:, 1] > 0, 1].sum() == pytest.approx(61.11, rel=1e-4)


def test_averages_are_taken_tissue_by_tissue():
    stiff = Tissue("stiff", NeoHookean(2000.0), Compressibility(100000.0), 1e-6, "test")
    organ = kuhn_block(
        (40, 20, 20),
        (4, 2, 2),
        {1: "block", 2: "stiff"},
        lambda c: np.where(c[:, 0] < 20, 1, 2).astype(np.uint8),
    )
    body = Body(organ, {"block": SOFT, "stiff": stiff}, [], STILL)
    shared = np.isin(body.averaging.vertex, body.dof_of_vertex[face(body, 0, 20)])
    assert sorted(set(body.averaging.bulk[shared])) == [100.0, 100000.0]
    state = Equilibrium(body, "P1-averaged").solve(sheared(body, 4.0))
    # The stiff half moves as a rigid body: it has no strain worth speaking of.
    half = organ.points[:, 0] >= 20
    assert np.ptp(state.displacement[half], axis=0).max() < 0.05
    assert state.minimum_jacobian > 0.9


def test_partly_prescribed_vertices_slide():
    body = block()
    left, right = face(body, 0, 0), face(body, 0, 40)
    vertices = np.r_[left, right]
    move = np.full((len(vertices), 3), np.nan)
    move[:, 0] = np.r_[np.zeros(len(left)), np.full(len(right), 8.0)]
    corner = int(left[0])
    move[vertices == corner] = 0.0
    other = [v for v in left if body.organ.points[v, 1] == 20 and body.organ.points[v, 2] == 0]
    move[vertices == other[0], 2] = 0.0
    state = Equilibrium(body, "P2-P1").solve((vertices, move))
    # Uniaxial stretch 1.2 of nearly incompressible neo-Hookean: P = µ (λ − 1/λ²), to order µ/K.
    pull = state.reaction_mN[len(left) :, 0].sum() / 400
    assert pull == pytest.approx(2.0 * (1.2 - 1 / 1.44), rel=0.01)
    assert np.ptp(state.displacement[right, 1]) > 0.5


def test_weight_is_carried_by_the_attachments():
    body = block(attachments=None, gravity_mm_s2=(0, 0, -9810.0))
    assert [a.name for a in body.attachments] == ["fat around block"]
    state = Equilibrium(body, "P2-P1").solve()
    assert state.displacement[:, 2].mean() < -0.1
    assert state.residual < 1e-9
    lighter = Equilibrium(body, "P2-P1").solve(gravity=False)
    assert np.abs(lighter.displacement).max() < 1e-9
    assert lighter.residual < 1e-9
    assert np.array_equal(body.gravity.value, body.gravity_mm_s2)


def test_forces_met_on_the_way_do_not_pass_for_convergence():
    """A law that stiffens exponentially meets huge forces in trial steps; what is returned must balance the load."""
    organ = kuhn_block((20, 20, 20), (3, 3, 3), {1: "block"})
    top = organ.exterior[(organ.points[organ.exterior][:, :, 2] > 19.99).all(axis=1)]
    law = Guccione(1.0, 40.0, 40.0, 40.0)
    tissue = Tissue("block", law, Compressibility(1000.0), 1e-6, "test")
    fibres = np.broadcast_to([1.0, 0, 0], (len(organ.tets), 1, 3))
    body = Body(organ, {"block": tissue}, [], STILL, patches={"top": top}, fibres=fibres)
    floor = np.flatnonzero(organ.points[:, 2] < 0.01)
    pull = Equilibrium(body, "P1", [Traction("top", (0, 0, 100.0))])
    state = pull.solve((floor, np.zeros((len(floor), 3))))
    assert state.reaction_mN.sum(axis=0) == pytest.approx([0, 0, -40000.0], abs=1e-3)


def test_large_pull_is_taken_in_steps():
    body = block(attachments=[])
    left = face(body, 0, 0)
    tip = face(body, 0, 40)[:4]
    vertices = np.r_[left, tip]
    move = np.zeros((len(vertices), 3))
    move[len(left) :, 1] = 15.0
    state = Equilibrium(body, "P1-averaged").solve((vertices, move))
    assert state.steps > 1
    assert state.minimum_jacobian > 0.3
    assert state.residual < 1e-9


def test_too_much_is_refused_where_and_why_and_nothing_is_kept():
    body = block(attachments=[])
    vertices, move = sheared(body, 0.0)
    move[len(vertices) // 2 :, 0] = -45.0
    with pytest.raises(
        SolverError, match=r"No equilibrium beyond .*% of the load: .* mm.*; load or pull less"
    ):
        Equilibrium(body, "P1").solve((vertices, move))
    fine = Equilibrium(body, "P1").solve(sheared(body, 1.0))
    again = Equilibrium(body, "P1")
    with pytest.raises(SolverError):
        again.solve((vertices, move))
    assert np.array_equal(again.solve(sheared(body, 1.0)).displacement, fine.displacement)


def test_malformed_requests_are_refused():
    body = block(attachments=[])
    solver = Equilibrium(body, "P1")
    with pytest.raises(SolverError, match="is not held against"):
        solver.solve()
    with pytest.raises(SolverError, match="outside 0…"):
        solver.solve(([10**6], [[0, 0, 0]]))
    with pytest.raises(SolverError, match="prescribed twice"):
        solver.solve(([1, 1], np.zeros((2, 3))))
    with pytest.raises(SolverError, match=r"2 vertices are prescribed .* shape \(3, 3\); give \(2, 3\)"):
        solver.solve(([0, 1], np.zeros((3, 3))))
    with pytest.raises(SolverError, match=r"to start from has shape \(3, 3\); give \(\d+, 3\) finite"):
        solver.solve(sheared(body, 1.0), start=np.zeros((3, 3)))
    with pytest.raises(SolverError, match="is infinite"):
        solver.solve(([1], [[np.inf, 0, 0]]))
    with pytest.raises(SolverError, match="element 'P3' is unknown"):
        Equilibrium(body, "P3")
    with pytest.raises(SolverError, match="no patch 'roof'"):
        Equilibrium(body, "P1", [Pressure("roof", 1.0)])
    kirchhoff = Tissue("block", SaintVenantKirchhoff(3.0, 2.0), None, 1e-6, "test")
    with pytest.raises(SolverError, match="use element 'P2'"):
        Equilibrium(Body(body.organ, {"block": kirchhoff}, [], STILL), "P2-P1")


def test_surface_loads_meet_their_resultant():
    organ = kuhn_block((20, 20, 20), (2, 2, 2), {1: "block"})
    top = organ.exterior[(organ.points[organ.exterior][:, :, 2] > 19.99).all(axis=1)]
    bottom = organ.exterior[(organ.points[organ.exterior][:, :, 2] < 0.01).all(axis=1)]
    held = Attachment("bottom", bottom, 5.0, 5.0)
    body = Body(organ, {"block": SOFT}, [held], STILL, patches={"top": top})
    floor = np.flatnonzero(organ.points[:, 2] < 0.01)
    # A dead load is met exactly; a pressure turns with the surface, whose rim has spread.
    for load, exact in ((Traction("top", (0, 0, -0.1)), 1e-6), (Pressure("top", 0.1), 0.01)):
        state = Equilibrium(body, "P2-P1", [load]).solve((floor, np.zeros((len(floor), 3))))
        total = state.reaction_mN.sum(axis=0)
        assert total[:2] == pytest.approx([0, 0], abs=exact)
        assert total[2] == pytest.approx(40.0, rel=0.02)
    assert state.pressure_kPa[organ.points[:, 2] > 10].mean() < 0


def _pushed(element, depth_mm, start=None):
    organ = kuhn_block((40, 20, 20), (8, 4, 4))
    tissue = Tissue("block", NeoHookean(2.0), Compressibility(100.0), 1e-6, "test")
    body = Body(organ, {"liver": tissue}, [], (0, 0, 0))
    x = organ.points
    base = np.flatnonzero(x[:, 0] < 1e-9)
    patch = np.flatnonzero(np.linalg.norm(x - [20, 20, 20], axis=1) < 5.1)
    goal = np.zeros((len(base) + len(patch), 3))
    goal[len(base) :, 1] = -depth_mm
    return Equilibrium(body, element), (np.concatenate([base, patch]), goal)


@pytest.mark.parametrize("element", ["P1-averaged", "P1-P1", "P2", "P2-P1"])
def test_a_state_goes_on_from_itself(element):
    solver, held = _pushed(element, 2.0)
    first = solver.solve(prescribed=held)
    again = solver.solve(prescribed=held, start=first)
    assert again.iterations <= 1
    assert np.allclose(again.displacement, first.displacement, atol=1e-7)
    on = solver.solve(prescribed=(held[0], 1.2 * held[1]), start=first)
    fresh = solver.solve(prescribed=(held[0], 1.2 * held[1]))
    assert np.allclose(on.displacement, fresh.displacement, atol=1e-6)


def test_no_corner_of_a_quadratic_cell_is_inside_out():
    solver, held = _pushed("P2-P1", 12.0)
    with pytest.raises(SolverError, match="inside out"):
        solver.solve(prescribed=held)


def _without_linear_solutions(monkeypatch):
    def fails(solver, load, tolerance):
        raise ArithmeticError("the linear system was not solved")

    monkeypatch.setattr(linear.Direct, "solve", fails)
    return "the linear system was not solved"


def _with_useless_linear_solutions(monkeypatch):
    exact = linear.Direct.solve
    monkeypatch.setattr(
        linear.Direct, "solve", lambda solver, load, tolerance: -exact(solver, load, tolerance)
    )
    return "Newton's method|folds"


def _without_iterations(monkeypatch):
    monkeypatch.setattr(equilibrium, "NEWTON_ITERATIONS", 1)
    monkeypatch.setattr(equilibrium, "RELAXATIONS", 1)
    return "did not converge in 1 iterations"


def _with_forces_that_are_no_numbers(monkeypatch):
    honest = elements.Element.residual
    monkeypatch.setattr(elements.Element, "residual", lambda element, x: honest(element, x) * np.nan)
    return "No equilibrium"


@pytest.mark.parametrize(
    "broken",
    [
        _without_linear_solutions,
        _with_useless_linear_solutions,
        _without_iterations,
        _with_forces_that_are_no_numbers,
    ],
)
@pytest.mark.parametrize("element", ["P1", "P2-P1"])
def test_nothing_is_returned_from_a_solve_that_diverged(monkeypatch, broken, element):
    body = block()
    said = broken(monkeypatch)
    with pytest.raises(SolverError, match=said):
        Equilibrium(body, element).solve(sheared(body, 6.0))


def test_the_matrix_is_factored_in_double_precision_where_single_does_not_do(monkeypatch):
    body = block()
    vertices, move = sheared(body, 4.0)
    fine = Equilibrium(body, "P2").solve((vertices, move))
    attempt = linear.Direct._attempt
    monkeypatch.setattr(linear.Direct, "_attempt", lambda s, *how: not s._single and attempt(s, *how))
    again = Equilibrium(body, "P2").solve((vertices, move))
    assert np.allclose(again.displacement, fine.displacement, atol=1e-8)
