"""Sutures and staples: forces in balance, knots that keep their tension, warnings, and what a cut takes along."""

import numpy as np
import pytest

from anatomy.mesh import OrganMesh
from solver.actions import Grasp, Hold, Pull, Staple, Suture, from_json
from solver.anchors import Anchors
from solver.attachments import Attachment
from solver.body import Body
from solver.errors import SolverError
from solver.field import OperativeField
from solver.interactive import Interactive
from solver.materials import Compressibility, NeoHookean
from solver.suture import Threads, pull_through
from solver.tissues import Tissue
from solver.topology import TopologyChange
from solver.verification.blocks import kuhn_block
from tests.solver.carrying import carry_out

GAP = 8.0


def two_blocks():
    """Two blocks that face each other across a gap, each held at its far end."""
    block = kuhn_block((30, 20, 20), (3, 2, 2))
    points = np.vstack([block.points, block.points * [-1, 1, 1] + [60 + GAP, 0, 0]])
    mirrored = block.tets[:, [0, 2, 1, 3]] + len(block.points)
    region = np.repeat([1, 2], len(block.tets)).astype(np.uint8)
    return OrganMesh(points, np.vstack([block.tets, mirrored]), region, {1: "liver", 2: "kidney_left"})


ORGAN = two_blocks()
LEFT, RIGHT = (30.0, 10.0, 10.0), (30.0 + GAP, 10.0, 10.0)


@pytest.fixture(scope="module")
def live():
    plain = Tissue("plain", NeoHookean(3.0), Compressibility(150.0), 1e-6, "test")
    x = ORGAN.points[ORGAN.exterior][:, :, 0]
    walls = [
        Attachment("left wall", ORGAN.exterior[(x < 1e-9).all(axis=1)], 3.0, 3.0),
        Attachment("right wall", ORGAN.exterior[(x > 60 + GAP - 1e-9).all(axis=1)], 3.0, 3.0),
    ]
    return Interactive(Body(ORGAN, {"liver": plain, "kidney_left": plain}, walls, gravity_mm_s2=(0, 0, 0)))


@pytest.fixture
def field(live):
    return OperativeField(live)


def wall_force(field, number):
    """Force of an attachment on the tissue, N: minus its stiffness times the mean displacement and area."""
    held = field.live.body.attachments[number]
    corners = ORGAN.points[held.facets]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    mean = field.live.displacement[held.facets].mean(axis=1)
    return -3.0 * (area[:, None] * mean).sum(axis=0) / 1000


def test_a_stitch_pulls_both_sides_with_its_tension(field):
    frame = carry_out(field, Suture("stitch", (LEFT, RIGHT), tension_N=0.1, duration_s=1.0), Hold(0.5))
    assert frame.state == "converged"
    threads = field.live.loads["stitch"]
    tension = threads.tensions_N(field.live.positions)[0]
    assert tension == pytest.approx(0.1, rel=2e-3)
    assert wall_force(field, 0) == pytest.approx([-tension, 0, 0], abs=5e-4)
    assert wall_force(field, 1) == pytest.approx([tension, 0, 0], abs=5e-4)
    assert threads.lengths_mm(field.live.positions)[0] < GAP - 1.0


def test_a_strong_hand_closes_the_gap_and_no_more(field):
    frame = carry_out(field, Suture("stitch", (LEFT, RIGHT), 5.0, 3.0, 2.0), Hold(0.5))
    assert frame.state == "converged"
    threads = field.live.loads["stitch"]
    assert threads.lengths_mm(field.live.positions)[0] == pytest.approx(3.0, abs=0.05)
    assert 0.05 < threads.tensions_N(field.live.positions)[0] < 2.0


def test_a_knot_holds_what_pulls_the_tissue_apart(field):
    carry_out(field, Suture("stitch", (LEFT, RIGHT), 0.1, duration_s=0.5), Hold(0.3))
    threads = field.live.loads["stitch"]
    before = threads.tensions_N(field.live.positions)[0], threads.lengths_mm(field.live.positions)[0]
    carry_out(
        field,
        Grasp("g", point_mm=(30.0, 10.0, 20.0), radius_mm=6.0),
        Pull("g", (-4.0, 0.0, 0.0), 0.5),
        Hold(0.5),
    )
    field.live.settle(1e-3)
    after = threads.tensions_N(field.live.positions)[0], threads.lengths_mm(field.live.positions)[0]
    assert after[0] > 1.2 * before[0]
    # All but inextensible.
    assert after[1] == pytest.approx(before[1], abs=0.02)


def test_a_running_suture_has_one_tension(field):
    points = ((30.0, 5.0, 5.0), (38.0, 5.0, 10.0), (30.0, 15.0, 10.0), (38.0, 15.0, 15.0))
    carry_out(field, Suture("running", points, 0.06, duration_s=0.5), Hold(0.5))
    field.live.settle(1e-3)
    threads = field.live.loads["running"]
    assert threads.tensions_N(field.live.positions) == pytest.approx([0.06], rel=5e-3)
    assert wall_force(field, 0)[0] == pytest.approx(-wall_force(field, 1)[0], abs=5e-4)
    assert wall_force(field, 0)[0] < -0.1


def test_energy_gradient_and_stiffness_belong_together(live):
    live.reset()
    points = np.array([(30.0, 5.0, 6.0), (38.0, 5.0, 11.0), (30.0, 15.0, 11.0)])
    anchors = Anchors.at(ORGAN, live.positions, points, "Point")
    threads = Threads.through("t", anchors, np.zeros(3, dtype=int), live.positions, np.inf, np.ones(1))
    rng = np.random.default_rng(1)
    x = live.positions + 0.2 * rng.standard_normal(live.positions.shape)
    for limit in (np.inf, 400.0):
        load = Threads(
            "t",
            anchors,
            threads.thread,
            threads.free_mm - 1,
            np.array([900.0]),
            np.array([limit]),
            np.ones(1),
        )
        way = rng.standard_normal(x.shape)
        h = 1e-5
        energy = [load.evaluate(x + s * h * way)[0] for s in (-1, 1)]
        gradient = [load.evaluate(x + s * h * way)[1] for s in (-1, 1)]
        assert (energy[1] - energy[0]) / (2 * h) == pytest.approx(np.vdot(load.evaluate(x)[1], way), rel=1e-6)
        vertices, matrix = load.coupled_stiffness(x)
        second = np.zeros_like(x)
        second[vertices] = (matrix @ way[vertices].ravel()).reshape(-1, 3)
        assert (gradient[1] - gradient[0]) / (2 * h) == pytest.approx(second, rel=1e-5, abs=1e-5)
        assert np.all(np.diff(vertices) > 0)
        assert np.linalg.eigvalsh(matrix).min() > -1e-9


def test_too_much_tension_is_told_once_with_numbers(field):
    act = Suture("stitch", (LEFT, RIGHT), 0.2, duration_s=0.5, pull_through_N=0.05)
    carry_out(field, act, Hold(0.5))
    told = [e for e in field.events if e.kind == "pull-through"]
    assert len(told) == 1
    assert told[0].values["strength_N"] == 0.05 < told[0].values["tension_N"]
    assert "will cut through: the tissue stands 0.05 N" in told[0].text


def test_what_tissue_stands_has_a_source():
    assert pull_through("kidney_left").simple_N == 3.62
    assert pull_through("kidney_left").confidence == "measured"
    assert pull_through("liver").confidence == "transferred"
    assert "Zanghi" in pull_through("liver").source


def test_staples_close_to_their_height(field):
    path = ((34.0, 5.0, 20.0), (34.0, 15.0, 20.0))
    frame = carry_out(field, Staple("line", path, width_mm=GAP + 2, spacing_mm=5.0, height_mm=6.0), Hold(0.5))
    assert frame.state == "converged"
    threads = field.live.loads["line"]
    assert len(threads.free_mm) == 3
    assert threads.lengths_mm(field.live.positions) == pytest.approx([6.0] * 3, abs=0.05)


def test_undo_and_replay_give_the_same_hash(field):
    acts = [Suture("a", (LEFT, RIGHT), 0.1, duration_s=0.5), Hold(0.3)]
    start = field.snapshot()
    before = field.state_hash()
    carry_out(field, *acts)
    end = field.state_hash()
    field.restore(start)
    assert field.state_hash() == before
    assert not field.live.loads
    assert "a" not in field.processes
    carry_out(field, *acts)
    assert field.state_hash() == end


def test_a_thread_goes_with_the_tissue_that_held_it(field):
    carry_out(field, Suture("stitch", (LEFT, RIGHT), 0.1, duration_s=0.3))
    kept = np.flatnonzero(ORGAN.region == 1)
    vertices, tets = np.unique(ORGAN.tets[kept], return_inverse=True)
    after = OrganMesh(ORGAN.points[vertices], tets.reshape(-1, 4), ORGAN.region[kept], ORGAN.structures)
    change = TopologyChange(
        ORGAN, after, np.c_[vertices, vertices], np.zeros(len(vertices)), kept, np.zeros((0, 3), dtype=int)
    )
    threads = field.live.loads["stitch"]
    carried = threads.carried(change)
    positions = field.live.positions[vertices]
    assert carried.lost.tolist() == [True]
    assert carried.evaluate(positions)[0] == 0.0
    assert not carried.evaluate(positions)[1].any()
    assert carried.coupled_stiffness(positions)[0].size == 0
    assert carried.anchors.points(positions)[0] == pytest.approx(
        threads.anchors.points(field.live.positions)[0]
    )
    field.change(change)
    frame = carry_out(field, Hold(0.5))
    assert frame.state == "converged"
    assert np.abs(field.live.displacement).max() < 0.02
    assert [event.kind for event in field.events] == ["suture-lost"]
    assert "Thread 1 of 'stitch' is gone" in field.events[0].text


@pytest.mark.parametrize(
    "act",
    [
        Suture("s", ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (1.0, 2.0, 0.0)), 2.0, reinforced=True),
        Staple("line", ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0))),
    ],
    ids=lambda a: a.act,
)
def test_json_round_trip(act):
    assert from_json(act.to_json()) == act


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"act": "suture", "name": "s", "points_mm": [[0, 0, 0]]}, "at least two points"),
        (
            {"act": "suture", "name": "s", "points_mm": [[0, 0, 0], [0, 0, 0]]},
            "Points 1 and 2 of points_mm are the same",
        ),
        (
            {"act": "suture", "name": "s", "points_mm": [[0, 0, 0], [0, 1]]},
            "Point 2 of points_mm is .*three numbers",
        ),
        ({"act": "suture", "name": "", "points_mm": [[0, 0, 0], [0, 1, 0]]}, "The suture's name is ''"),
        (
            {"act": "suture", "name": "s", "points_mm": [[0, 0, 0], [0, 1, 0]], "tension_N": 0},
            "tension_N is 0; it must",
        ),
        (
            {"act": "staple", "name": "s", "path_mm": [[0, 0, 0], [0, 1, 0]], "spacing_mm": -1},
            "spacing_mm is -1",
        ),
    ],
)
def test_nonsense_is_refused(data, words):
    with pytest.raises(SolverError, match=words):
        from_json(data)


def test_points_off_the_organ_and_taken_names_are_refused(field):
    before = field.state_hash()
    with pytest.raises(
        SolverError, match=r"Point 2 at \(34\.0, 10\.0, 60\.0\) mm is 4\d\.\d mm off the organ"
    ):
        carry_out(field, Suture("s", (LEFT, (34.0, 10.0, 60.0))))
    with pytest.raises(SolverError, match="off the organ"):
        carry_out(field, Staple("s", (LEFT, (300.0, 10.0, 10.0))))
    assert field.state_hash() == before
    carry_out(field, Suture("s", (LEFT, RIGHT), 0.05, duration_s=0.0))
    with pytest.raises(SolverError, match="already something named 's'"):
        carry_out(field, Suture("s", (LEFT, RIGHT)))
