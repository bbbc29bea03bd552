import numpy as np
import pytest

from solver.attachments import Attachment
from solver.body import Body
from solver.breathing import Breathing, MovedAnchor
from solver.equilibrium import Equilibrium
from solver.errors import SolverError
from solver.ligaments import TOE_STRAIN, Ligament
from solver.loads import Traction
from solver.materials import Compressibility, NeoHookean
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block

STILL = (0.0, 0.0, 0.0)
FIRM = Tissue("block", NeoHookean(200.0), Compressibility(10000.0), 1e-6, "test")


def cube(held=(), gravity=STILL):
    organ = kuhn_block((20, 20, 20), (2, 2, 2), {1: "block"})
    side = {
        name: organ.exterior[(np.abs(organ.points[organ.exterior][:, :, axis] - at) < 1e-9).all(axis=1)]
        for name, axis, at in (("top", 2, 20), ("bottom", 2, 0), ("left", 0, 0))
    }
    attachments = [Attachment(name, side[name], *stiffness) for name, *stiffness in held]
    return Body(organ, {"block": FIRM}, attachments, gravity, patches=side)


def rails(body):
    """Every vertex may move along z alone."""
    move = np.zeros((len(body.organ.points), 3))
    move[:, 2] = np.nan
    return np.arange(len(move)), move


@pytest.mark.parametrize(("element", "sheet"), [("P1", True), ("P2-P1", True), ("P2", False)])
def test_a_weight_hangs_by_its_ligament(element, sheet):
    body = cube(gravity=(0, 0, -9810.0))
    weight = 8000 * 1e-6 * 9810
    ligament = Ligament("cord", "top", (10, 10, 50), 50.0, slack_mm=29.0, sheet=sheet)
    state = Equilibrium(body, element, [ligament]).solve(rails(body))
    # The midpoints of quadratic edges do not enter the force that is read off the vertices.
    assert ligament.force_mN(body, state.from_reference) == pytest.approx([0, 0, weight], abs=1e-2 * weight)
    if sheet:
        # All fibres are as long: N(ε) = weight, which lies beyond the toe.
        strain = weight / (50.0 * 29.0) + TOE_STRAIN / 2
        assert strain > TOE_STRAIN
        top = body.organ.points[:, 2] == 20
        assert -state.displacement[top, 2].mean() == pytest.approx(29.0 * (1 + strain) - 30.0, rel=1e-3)


def test_a_ligament_pulls_and_never_pushes():
    body = cube(held=[("bottom", 2.0, 2.0)])
    ligament = Ligament("sheet", "top", (10, 10, 50), 100.0, sheet=True)
    for sign in (1, -1):
        load = Traction("top", (0, 0, 0.5 * sign))
        free = Equilibrium(body, "P1", [load]).solve()
        tied = Equilibrium(body, "P1", [load, ligament]).solve()
        tension = np.linalg.norm(ligament.force_mN(body, tied.from_reference))
        if sign > 0:
            assert tension == 0.0
            assert np.allclose(tied.displacement, free.displacement, atol=1e-8)
        else:
            top = body.organ.points[:, 2] == 20
            assert 1.0 < tension < 200.0
            assert free.displacement[top, 2].max() < tied.displacement[top, 2].mean() - 1e-3


def test_a_divided_ligament_holds_no_more():
    body = cube(held=[("bottom", 2.0, 2.0)])
    ligament = Ligament("cord", "top", (60, 10, 20), 100.0, slack_mm=40.0)
    solver = Equilibrium(body, "P1", [ligament])
    pulled = solver.solve()
    assert pulled.displacement[:, 0].max() > 0.1
    ligament.release()
    assert np.abs(solver.solve(start=pulled).displacement).max() < 1e-6
    assert not ligament.force_mN(body, pulled.from_reference).any()
    assert np.abs(Equilibrium(body, "P1", [ligament]).solve().displacement).max() < 1e-9


def test_only_taut_ligaments_count_as_support():
    body = cube(gravity=(0, 0, -9810.0))
    slack = Ligament("cord", "top", (10, 10, 50), 50.0, slack_mm=35.0, sheet=True)
    with pytest.raises(SolverError, match=r"not held against translation along the z \(head-foot\) axis;"):
        Equilibrium(body, "P1", [slack]).solve(rails(body))
    taut = Ligament("cord", "top", (10, 10, 50), 50.0, slack_mm=29.0, sheet=True)
    taut.release()
    with pytest.raises(SolverError, match=r"against translation along the z .* axis;"):
        Equilibrium(body, "P1", [taut]).solve(rails(body))


def test_a_moved_anchor_carries_the_organ_along():
    body = cube(held=[("top", 5.0, 5.0)])
    anchor = MovedAnchor("top", Breathing(12.0, 4.0))
    solver = Equilibrium(body, "P1", [anchor])
    for time_s, way in ((0.0, 0.0), (2.0, 12.0), (4.0, 0.0)):
        anchor.at(time_s)
        state = solver.solve()
        assert np.allclose(state.displacement, [0, 0, -way], atol=1e-6)
    anchor.move((3.0, 0, 0))
    assert np.allclose(Equilibrium(body, "P1", [anchor]).solve().displacement, [3.0, 0, 0], atol=1e-6)


def test_breathing_is_periodic_and_rests_at_the_end_of_expiration():
    quiet = Breathing(period_s=5.0)
    assert quiet.displacement(0.0) == pytest.approx([0, 0, 0])
    assert quiet.displacement(2.5) == pytest.approx([0, 0, -20.0])
    assert quiet.displacement(1.7) == pytest.approx(quiet.displacement(6.7))
    way = [-quiet.displacement(t)[2] for t in np.linspace(0, 5, 500, endpoint=False)]
    # The mean of sin⁴ is 3/8: more time is spent up than down.
    assert np.mean(way) == pytest.approx(20 * 3 / 8)
    vertices, move = quiet.prescribed([3, 5], 2.5)
    assert vertices.tolist() == [3, 5]
    assert move[1] == pytest.approx([0, 0, -20])


def test_malformed_ligaments_and_breaths_are_refused():
    body = cube()
    for options, sentence in (
        ({"stiffness_mN_mm": -1.0}, "stiffness -1 mN/mm; it must be positive"),
        ({"slack_mm": 0.0}, "rest length 0 mm"),
        ({"anchor_mm": (1, 2)}, "give x, y, z in mm"),
    ):
        with pytest.raises(SolverError, match=sentence):
            Ligament(
                **{"name": "a", "patch": "top", "anchor_mm": (0, 0, 9), "stiffness_mN_mm": 1.0, **options}
            )
    with pytest.raises(SolverError, match="which the body does not have; it has top, bottom, left"):
        Equilibrium(body, "P1", [Ligament("a", "roof", (0, 0, 9), 1.0)])
    with pytest.raises(SolverError, match="no attachment 'roof' to move; the body has none"):
        Equilibrium(body, "P1", [MovedAnchor("roof")])
    for options, sentence in (
        ({"amplitude_mm": -1.0}, "cannot be negative"),
        ({"period_s": 0.0}, "must be positive"),
        ({"direction": (0, 0, 0)}, "no direction"),
        ({"exponent": 0}, "1 or more"),
    ):
        with pytest.raises(SolverError, match=sentence):
            Breathing(**options)
    with pytest.raises(SolverError, match="give x, y, z"):
        MovedAnchor("top").move((1, 2))
