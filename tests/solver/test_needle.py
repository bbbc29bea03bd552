"""A needle: what it meets, where it ends, what it leaves."""

from types import SimpleNamespace

import numpy as np
import pytest

from solver.actions import Grasp, Hold, InsertNeedle, Pull, WithdrawNeedle, from_json
from solver.anchors import located, surface_crossed
from solver.attachments import Attachment
from solver.body import Body
from solver.carried_vessels import CarriedTree
from solver.errors import SolverError
from solver.field import OperativeField
from solver.insertion import pieces_met, segment_distance
from solver.interactive import Interactive
from solver.needle import Needle, NeedleForces
from solver.topology import TopologyChange
from solver.verification.blocks import kuhn_block
from tests.solver.carrying import carry_out

ORGAN = kuhn_block(
    (50, 30, 30),
    (7, 5, 5),
    {1: "liver", 2: "liver_tumor"},
    lambda c: np.where(c[:, 0] < 30, 1, 2).astype(np.uint8),
)
ENTRY, TARGET = (-2.0, 16.0, 14.0), (30.0, 16.0, 14.0)


@pytest.fixture(scope="module")
def live():
    x = ORGAN.points[ORGAN.exterior]
    walls = [
        Attachment("floor", ORGAN.exterior[(x[:, :, 2] < 1e-9).all(axis=1)], 4.0, 4.0),
        Attachment("back", ORGAN.exterior[(x[:, :, 1] > 30 - 1e-9).all(axis=1)], 4.0, 4.0),
    ]
    return Interactive(Body(ORGAN, attachments=walls, gravity_mm_s2=(0, 0, 0)))


@pytest.fixture
def field(live):
    return OperativeField(live)


def told(field, kind):
    return [event.to_json() for event in field.events if event.kind == kind]


def test_capsule_is_pierced_at_its_force_and_cutting_and_friction_follow(field):
    act = InsertNeedle("needle", ENTRY, TARGET, 10.0, cutting_N=0.2, puncture_N=0.7, friction_N_mm=0.01)
    carry_out(field, act)
    puncture, *more = told(field, "puncture")
    assert not more
    assert puncture["force_N"] == pytest.approx(0.7, rel=1e-3)
    assert 1.0 < puncture["indentation_mm"] < 20.0
    assert puncture["place_mm"][1:] == [16.0, 14.0]
    field.live.settle(5e-3)
    needle = field.live.loads["needle"]
    positions = field.live.positions
    length = needle.depth_mm - needle.axis_entry_mm(positions)
    assert length > 20.0
    assert needle.axial_N(positions) == pytest.approx(0.2 + 0.01 * length, rel=0.06)
    # The needle pushes the tissue with what its supports answer.
    pushed = field.live.step(iterations=0).forces_N["needle"]
    assert pushed[0] == pytest.approx(needle.axial_N(positions), rel=1e-6)
    # Places on the shaft stay on the axis.
    aside = needle.shaft.points(positions)[:, 1:] - [16.0, 14.0]
    assert np.abs(aside).max() < 0.02


def test_target_moves_and_correction_follows_it(field):
    before = field.snapshot()
    carry_out(field, InsertNeedle("needle", ENTRY, TARGET, 10.0))
    first = told(field, "needle")[0]
    assert first["target_moved_mm"] > 0.5
    assert first["targeting_error_mm"] == pytest.approx(
        np.hypot(first["along_mm"], first["across_mm"]), rel=1e-6
    )
    # The tissue is carried along, so that the needle stops short of it.
    assert first["along_mm"] > 0.5
    field.restore(before)
    carry_out(field, InsertNeedle("needle", ENTRY, TARGET, 10.0, correct=True))
    second = told(field, "needle")[0]
    assert second["uncorrected_error_mm"] == pytest.approx(first["targeting_error_mm"])
    assert abs(second["along_mm"]) <= 0.15
    assert second["targeting_error_mm"] < 0.5 * first["targeting_error_mm"]
    needle = field.live.loads["needle"]
    target = field.processes["needle"].target.points(field.live.positions)[0]
    assert np.linalg.norm(target - needle.tip_mm) == pytest.approx(second["targeting_error_mm"], abs=0.05)


def test_through_and_through_pierces_two_surfaces(field):
    carry_out(field, InsertNeedle("n", (8.0, 30.5, 31.0), (8.0, 24.0, 24.0), 10.0, puncture_N=0.3))
    needle = field.live.loads["n"]
    for depth in np.arange(needle.depth_mm, 48.0, 1.0):
        field.live.add_load("n", field.live.loads["n"].pushed(float(depth)))
        field.step(iterations=3, advance_s=0.1)
    needle = field.live.loads["n"]
    assert [p.leaving for p in needle.punctures] == [False, True]
    assert needle.where == "outside"
    assert len(told(field, "puncture")) == 2
    assert "left the tissue" in field.events[-1].text


def test_vessels_on_the_way_are_counted_once_each(field):
    portal = CarriedTree.embed(
        ORGAN, "portal_vein",
        [[15, 5, 14], [15, 16.5, 14], [15, 25, 14], [28, 16, 5], [28, 16, 25]],
        [2.0, 2.0, 2.0, 1.5, 1.5], [-1, 0, 1, -1, 3],
    )  # fmt: skip
    hepatic = CarriedTree.embed(
        ORGAN, "hepatic_vein", [[20, 5, 24], [20, 25, 24]], [3.0, 3.0], [-1, 0], outflow=True
    )
    field.vessels = {"portal_vein": portal, "hepatic_vein": hepatic}
    carry_out(field, InsertNeedle("needle", ENTRY, TARGET, 10.0, puncture_N=0.2, correct=True))
    met = told(field, "vessel-crossed")
    assert [(event["system"], event["calibre_mm"]) for event in met] == [
        ("portal_vein", 4.0),
        ("portal_vein", 3.0),
    ]
    assert told(field, "needle")[0]["vessels_crossed"] == 2
    assert told(field, "needle")[0]["punctures"] == 1


def test_segments_are_measured_to_the_closed_form():
    first = np.array([[0, 1, -1], [2, 1, -1], [0, 0, 3], [np.nan, 0, 0], [-3, 2, 0]], dtype=float)
    second = np.array([[0, 1, 1], [2, 1, 1], [0, 0, 4], [0, 0, 0], [5, 2, 0]], dtype=float)
    found = segment_distance(np.array([-1.0, 0, 0]), np.array([1.0, 0, 0]), first, second)
    assert found[[0, 1, 2, 4]] == pytest.approx([1.0, np.sqrt(2), 3.0, 2.0])
    assert np.isnan(found[3])
    gone = SimpleNamespace(points=lambda _: first, parent=np.array([-1, 0, 1, 2, 3]), radius=np.full(5, 9.0))
    assert pieces_met(gone, first, np.array([-1.0, 0, 0]), np.array([1.0, 0, 0])) == [1, 2]


def test_withdrawn_it_leaves_the_tissue_as_it_was(field):
    carry_out(field, InsertNeedle("needle", ENTRY, TARGET, 20.0))
    carry_out(field, WithdrawNeedle("needle", 1.0), Hold(0.5))
    assert not field.live.loads
    assert "needle" not in field.processes
    assert np.abs(field.live.displacement).max() < 0.02


def test_a_needle_holds_tissue_that_is_pulled(field):
    carry_out(field, InsertNeedle("needle", ENTRY, TARGET, 20.0))
    shaft = field.live.loads["needle"].shaft
    before = field.live.displacement.copy()
    carry_out(
        field,
        Grasp("g", point_mm=(15.0, 0.0, 30.0), radius_mm=6.0),
        Pull("g", (0.0, -3.0, 3.0), 0.5),
        Hold(0.5),
    )
    aside = shaft.points(field.live.positions)[:, 1:] - [16.0, 14.0]
    assert np.abs(aside).max() < 0.1
    assert np.abs(field.live.displacement - before).max() > 2.0


def test_energy_gradient_and_stiffness_belong_together(field):
    carry_out(field, InsertNeedle("needle", ENTRY, TARGET, 20.0))
    needle = field.live.loads["needle"].pushed(field.live.loads["needle"].depth_mm + 0.05)
    rng = np.random.default_rng(2)
    x = field.live.positions + 0.02 * rng.standard_normal(field.live.positions.shape)
    way = rng.standard_normal(x.shape)
    h = 1e-6
    energy = [needle.evaluate(x + s * h * way)[0] for s in (-1, 1)]
    gradient = [needle.evaluate(x + s * h * way)[1] for s in (-1, 1)]
    assert (energy[1] - energy[0]) / (2 * h) == pytest.approx(np.vdot(needle.evaluate(x)[1], way), rel=1e-6)
    vertices, matrix = needle.coupled_stiffness(x)
    second = np.zeros_like(x)
    second[vertices] = (matrix @ way[vertices].ravel()).reshape(-1, 3)
    assert (gradient[1] - gradient[0]) / (2 * h) == pytest.approx(second, rel=1e-4, abs=1e-3)
    assert np.linalg.eigvalsh(matrix).min() > -1e-8


def test_undo_and_replay_give_the_same_hash(field):
    acts = [InsertNeedle("needle", ENTRY, TARGET, 20.0, correct=True), Hold(0.3)]
    start, before = field.snapshot(), field.state_hash()
    carry_out(field, *acts)
    end = field.state_hash()
    field.restore(start)
    assert field.state_hash() == before
    assert not field.live.loads
    carry_out(field, *acts)
    assert field.state_hash() == end


def test_a_needle_is_carried_to_what_is_left(field):
    carry_out(field, InsertNeedle("needle", ENTRY, TARGET, 20.0))
    needle = field.live.loads["needle"]
    kept = np.flatnonzero(ORGAN.region == 1)
    vertices, tets = np.unique(ORGAN.tets[kept], return_inverse=True)
    after = type(ORGAN)(ORGAN.points[vertices], tets.reshape(-1, 4), ORGAN.region[kept], ORGAN.structures)
    change = TopologyChange(
        ORGAN, after, np.c_[vertices, vertices], np.zeros(len(vertices)), kept, np.zeros((0, 3), dtype=int)
    )
    carried = needle.carried(change)
    inside = ORGAN.region[needle.shaft.tet] == 1
    assert len(carried.shaft) == inside.sum() > 3
    moved = field.live.positions[vertices]
    assert carried.shaft.points(moved) == pytest.approx(needle.shaft.points(field.live.positions)[inside])
    field.live.change(change)
    assert carry_out(field, Hold(0.5)).state == "converged"


def test_places_and_surfaces_are_found():
    assert located(ORGAN, ORGAN.points, np.array([60.0, 0, 0])) is None
    place = located(ORGAN, ORGAN.points, np.array([12.3, 4.5, 6.7]))
    assert place.points(ORGAN.points)[0] == pytest.approx([12.3, 4.5, 6.7])
    origin, along = np.array([-3.0, 11.0, 13.0]), np.array([1.0, 0, 0])
    depth, entry = surface_crossed(ORGAN, ORGAN.points, origin, along, 0, 100, entering=True)
    assert depth == pytest.approx(3.0)
    assert entry.points(ORGAN.points)[0] == pytest.approx([0, 11, 13])
    assert surface_crossed(ORGAN, ORGAN.points, origin, along, 0, 100, entering=False)[0] == pytest.approx(
        53.0
    )
    assert surface_crossed(ORGAN, ORGAN.points, origin, along, 4, 50, entering=True) is None


def test_forces_follow_from_the_tissue(live):
    forces = NeedleForces.of(live.body, 1.27)
    assert forces.cutting_mN[1] == pytest.approx(164 * 1.27)
    assert forces.puncture_mN[1] == pytest.approx(300 * np.pi * 1.27)
    thin = NeedleForces.of(live.body, 0.7)
    assert thin.friction_mN_mm == pytest.approx(forces.friction_mN_mm * 0.7 / 1.27)
    given = NeedleForces.of(live.body, 1.27, 0.9, 2.0, 0.02)
    assert (given.cutting_mN[1], given.puncture_mN[2], given.friction_mN_mm) == pytest.approx((900, 2000, 20))


@pytest.mark.parametrize(
    "act",
    [InsertNeedle("n", ENTRY, TARGET, correct=True, cutting_N=0.5), WithdrawNeedle("n")],
    ids=lambda a: a.act,
)
def test_json_round_trip(act):
    assert from_json(act.to_json()) == act


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"entry_mm": [0, 0, 0], "target_mm": [0, 0, 0]}, "entry and its target are the same"),
        ({"entry_mm": [0, 0, 0], "target_mm": [0, 0]}, "target_mm is .*three numbers"),
        (
            {"entry_mm": [0, 0, 0], "target_mm": [0, 0, 1], "speed_mm_s": 0},
            "speed_mm_s is 0; it must be positive",
        ),
        ({"entry_mm": [0, 0, 0], "target_mm": [0, 0, 1], "cutting_N": -1}, "cutting_N is -1"),
    ],
)
def test_nonsense_is_refused(data, words):
    with pytest.raises(SolverError, match=words):
        from_json({"act": "needle", "tool": "n", **data})


def test_what_cannot_be_done_is_refused_and_changes_nothing(field):
    before = field.state_hash()
    for entry, target, words in (
        (ENTRY, (90.0, 16.0, 14.0), r"The target at \(90\.0, 16\.0, 14\.0\) mm is 40\.0 mm off the organ"),
        (ENTRY, (51.0, 16.0, 14.0), "The target is outside the organ; choose one inside"),
        ((20.0, 16.0, 14.0), TARGET, "The needle's entry is inside the organ"),
    ):
        with pytest.raises(SolverError, match=words):
            carry_out(field, InsertNeedle("n", entry, target))
    with pytest.raises(SolverError, match="no needle 'n' to withdraw; in place: none"):
        carry_out(field, WithdrawNeedle("n"))
    assert field.state_hash() == before
    list(InsertNeedle("n", ENTRY, TARGET, 100.0).run(field, frame_s=0.1))
    with pytest.raises(SolverError, match="already something named 'n'"):
        carry_out(field, InsertNeedle("n", ENTRY, TARGET))
    assert isinstance(field.live.loads["n"], Needle)


def test_carried_by_a_clock_it_is_corrected_and_reported_all_the_same(field):
    """As the live session does: begun, carried to shares of its course, then left to the processes."""
    carry = InsertNeedle("needle", ENTRY, TARGET, 10.0, correct=True).begin(field)
    for share in np.linspace(0.05, 1.0, 25):
        carry(float(share))
        field.step(iterations=3, advance_s=0.13)
    for _ in range(40):
        field.step(iterations=3, advance_s=0.1)
    (event,) = told(field, "needle")
    assert event["uncorrected_error_mm"] > event["targeting_error_mm"]
    assert abs(event["along_mm"]) < 0.15
