"""Incise and resect: what they cut, what they take out, and what they refuse."""

import numpy as np
import pytest

from anatomy.mesh import OrganMesh
from solver.actions import Grasp, Hold, Incise, Resect, from_json
from solver.actions.act import Act
from solver.attachments import Attachment
from solver.body import Body
from solver.equilibrium import Equilibrium
from solver.errors import SolverError
from solver.field import OperativeField
from solver.interactive import Interactive
from solver.live_error import reference_error
from solver.tissues import tissue_of
from solver.verification.blocks import kuhn_block
from tests.solver.opened import opened_at

SIZE, CELLS = (60.0, 20.0, 20.0), (12, 4, 4)
NOTCH = ((30.0, 0.0, -5.0), (30.0, 0.0, 25.0))


def block(size=SIZE, cells=CELLS, organ=None, **kwargs):
    organ = organ or kuhn_block(size, cells, **kwargs)
    wall = organ.exterior[(organ.points[organ.exterior][:, :, 0] < 1e-9).all(axis=1)]
    return Body(organ, attachments=[Attachment("wall", wall, 50.0, 50.0)], gravity_mm_s2=(0, 0, 0))


@pytest.fixture(scope="module")
def field():
    return OperativeField(Interactive(block()))


@pytest.fixture(scope="module")
def tumour():
    """A block with a round tumour under its surface, in which a branch feeds the far third."""

    def region(middle):
        near = np.linalg.norm(middle - [30.0, 13.0, 15.0], axis=1) < 5.0
        return np.where(near, 2, 1).astype(np.uint8)

    body = block((60.0, 30.0, 30.0), (20, 10, 10), structures={1: "liver", 2: "liver_tumour"}, region=region)
    middle = body.organ.points[body.organ.tets].mean(axis=1)[:, 0]
    fed = np.where(middle > 40.0, 2, np.where(middle > 20.0, 1, 0))
    return OperativeField(Interactive(body), tet_data={"portal_vein": fed, "middle_x": middle})


@pytest.fixture(autouse=True)
def _rested(request):
    for name in ("field", "tumour"):
        if name in request.fixturenames:
            request.getfixturevalue(name).reset()


def do(field, *acts):
    frame = None
    for act in acts:
        *_, frame = act.run(field)
    return frame


def stretch(live):
    live.grasp("jaws", [60.0, 10.0, 10.0], 15.0)
    live.move("jaws", [64.0, 10.0, 10.0])
    return live.settle(1e-4)


def test_a_bar_cut_half_through_is_the_bar_that_was_meshed_cut(field):
    """In both tiers: the incision splits and snaps; the other mesh had a lattice plane there, opened by hand."""
    at = 31.7
    do(field, Incise("scalpel", ((at, 0.0, -5.0), (at, 0.0, 25.0)), 10.0, (0.0, 1.0, 0.0), 0.0))
    assert field.events[-1].kind == "incision"
    assert field.events[-1].values["area_mm2"] == pytest.approx(10 * 20, rel=0.02)
    notched = Interactive(notched_bar(at))
    cut, meshed = stretch(field.live), stretch(notched)
    assert reference_error(field.live)[1] < 1e-3
    assert cut.forces_N["jaws"][0] == pytest.approx(meshed.forces_N["jaws"][0], rel=0.02)
    assert opening(field.live.body, field.live.displacement, at) == pytest.approx(
        opening(notched.body, notched.displacement, at), rel=0.02
    )
    assert cut.forces_N["jaws"][0] < 0.8 * stretch(Interactive(block())).forces_N["jaws"][0]
    found = []
    for live in (field.live, notched):
        held = live.held_by("jaws")
        state = Equilibrium(live.body, "P2-P1").solve(prescribed=(held, live.displacement[held]))
        found.append((opening(live.body, state.displacement, at), state.reaction_mN[:, 0].sum()))
    assert found[0] == pytest.approx(found[1], rel=0.02)
    assert found[0][0] == pytest.approx(opening(field.live.body, field.live.displacement, at), rel=0.1)


def notched_bar(at):
    """The block with its lattice plane x = 30 moved to where the notch is, and opened there by hand."""
    whole = kuhn_block(SIZE, CELLS)
    points = whole.points.copy()
    x = points[:, 0]
    points[:, 0] = np.where(x <= 30.0, x * at / 30.0, at + (x - 30.0) * (60.0 - at) / 30.0)
    organ = OrganMesh(points, whole.tets, whole.region, whole.structures)
    return block(organ=organ).changed(opened_at(organ, at, 10.0))


def opening(body, moved, at):
    """How far the lips of the cut at y = 0 have come apart, mm."""
    points = body.organ.points
    lips = (np.abs(points[:, 0] - at) < 1.0) & (points[:, 1] < 1e-6)
    return float(np.ptp(moved[lips, 0]))


def test_work_of_the_blade_is_toughness_times_area(field):
    do(field, Incise("scalpel", NOTCH, 10.0, duration_s=0.1))
    told = field.events[-1].values
    liver = tissue_of("liver").toughness
    assert told["work_mJ"] == pytest.approx(liver.energy_J_m2 * told["area_mm2"] * 1e-3, rel=1e-6)
    assert told["least_work_mJ"] < told["work_mJ"] < told["most_work_mJ"]
    assert told["mean_force_N"] == pytest.approx(told["work_mJ"] / 30.0, rel=1e-6)


@pytest.mark.parametrize(
    "act",
    [
        Incise("scalpel", ((0.0, 0.0, 50.0), (60.0, 0.0, 50.0)), 5.0, (0.0, 1.0, 0.0)),
        Resect("plane", (90.0, 0.0, 0.0), (1.0, 0.0, 0.0)),
        Resect("plane", (40.0, 0.0, 0.0), (1.0, 0.0, 0.0), keep_mm=(60.0, 10.0, 10.0)),
        Resect("margin", structure="liver_tumour", margin_mm=5.0),
        Resect("territory", system="portal_vein", node=3),
    ],
)
def test_nonsense_is_refused_and_the_rehearsal_goes_on(field, act):
    before = field.state_hash()
    started = field.snapshot()
    with pytest.raises(SolverError, match=r"misses|nothing|no 'liver_tumour'|no territories|hold"):
        do(field, act)
    field.restore(started)
    assert field.state_hash() == before
    assert do(field, Hold(0.1)).state == "converged"


@pytest.mark.parametrize(
    "data",
    [
        {"act": "incise", "tool": "b", "path_mm": [[0, 0, 0]]},
        {"act": "incise", "tool": "b", "path_mm": [[0, 0, 0], [0, 0, 0]]},
        {"act": "incise", "tool": "b", "path_mm": [[0, 0, 0], [1, 0, 0]], "depth_mm": 1000},
        {"act": "incise", "tool": "b", "path_mm": [[0, 0, 0], [1, 0, 0]], "direction": [0, 0, 0]},
        {"act": "resect", "by": "laser"},
        {"act": "resect", "by": "plane", "point_mm": [0, 0, 0]},
        {"act": "resect", "by": "plane", "point_mm": [0, 0, 0], "normal": [0, 0, 0]},
        {"act": "resect", "by": "spline", "points_mm": [[0, 0, 0], [1, 0, 0]]},
        {"act": "resect", "by": "margin", "structure": "tumour", "margin_mm": -1},
        {"act": "resect", "by": "margin", "structure": "tumour", "margin_mm": 5, "node": 3},
        {"act": "resect", "by": "territory", "system": "portal_vein", "node": -1},
    ],
)
def test_what_makes_no_sense_cannot_be_written(data):
    with pytest.raises(SolverError):
        from_json(data)


def test_acts_come_back_from_json_as_they_were():
    for act in (
        Incise("scalpel", NOTCH, 10.0, (0.0, 1.0, 0.0)),
        Resect("plane", (1.0, 2.0, 3.0), (0.0, 0.0, 1.0), keep_mm=(0.0, 0.0, 0.0)),
        Resect("spline", points_mm=((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))),
        Resect("margin", structure="liver_tumour", margin_mm=10.0),
        Resect("territory", system="portal_vein", node=3),
    ):
        assert isinstance(act, Act)
        assert from_json(act.to_json()) == act


@pytest.mark.parametrize("normal", [(1.0, 0.0, 0.0), (1.0, 0.3, -0.2), (-1.0, 0.5, 0.0)])
def test_volume_resected_by_a_plane_is_exact(field, normal):
    """The prism beyond the plane, whose mean height is that at the middle of the section."""
    total = field.organ.tet_volumes.sum()
    do(field, Resect("plane", (42.3, 10.0, 10.0), normal, duration_s=0.1))
    (out,) = field.specimens
    exact = (60.0 - 42.3) * 20 * 20 / 1000
    assert out.volume_ml == pytest.approx(exact, rel=0.03)
    assert 1000 * out.volume_ml + field.organ.tet_volumes.sum() == pytest.approx(total, rel=1e-9)
    told = {event.kind: event.values for event in field.events}
    assert told["specimen"]["volume_ml"] == pytest.approx(out.volume_ml)
    assert told["resection"]["area_mm2"] == pytest.approx(
        400 / abs(normal[0]) * np.linalg.norm(normal), rel=0.05
    )


def test_the_side_to_keep_can_be_named():
    organ = kuhn_block(SIZE, CELLS)
    x = organ.points[organ.exterior][:, :, 0]
    ends = [
        Attachment("near", organ.exterior[(x < 1e-9).all(axis=1)], 5.0, 5.0),
        Attachment("far", organ.exterior[(x > 59.9).all(axis=1)], 5.0, 5.0),
    ]
    field = OperativeField(Interactive(Body(organ, attachments=ends)))
    do(field, Resect("plane", (40.0, 0.0, 0.0), (1.0, 0.0, 0.0), keep_mm=(55.0, 0.0, 0.0)))
    assert [a.name for a in field.live.body.attachments] == ["far"]
    assert field.organ.points[:, 0].min() == pytest.approx(40.0, abs=1.0)
    assert do(field, Hold(1.0)).state == "converged"


def test_a_wedge_leaves_the_margin_around_a_tumour(tumour):
    organ = tumour.organ
    do(tumour, Resect("margin", structure="liver_tumour", margin_mm=5.0))
    (out,) = tumour.specimens
    assert out.organ.volumes_ml["liver_tumour"] == pytest.approx(organ.volumes_ml["liver_tumour"], rel=1e-9)
    assert not len(tumour.organ.tets_of("liver_tumour"))
    # The margin: every vertex that stayed is at least about 5 mm from the tumour.
    inside = organ.points[organ.vertices_of("liver_tumour")]
    apart = np.linalg.norm(tumour.organ.points[:, None] - inside[None], axis=2).min(axis=1)
    assert apart.min() > 4.0
    assert out.volume_ml + tumour.organ.tet_volumes.sum() / 1000 == pytest.approx(tumour.whole_ml, rel=1e-9)


def test_a_territory_is_taken_with_all_beyond_it(tumour):
    tumour.vessels["portal_vein"] = _Tree(np.array([-1, 0, 1]))
    do(tumour, Resect("territory", system="portal_vein", node=2, duration_s=0.1))
    (out,) = tumour.specimens
    assert out.volume_ml == pytest.approx(20 * 30 * 30 / 1000, rel=0.03)
    assert out.tet_data["middle_x"].min() > 38.0
    assert tumour.tet_data["middle_x"].max() < 42.0
    tumour.reset()
    tumour.vessels["portal_vein"] = _Tree(np.array([-1, 0, 1]))
    do(tumour, Resect("territory", system="portal_vein", node=1, duration_s=0.1))
    assert tumour.specimens[0].volume_ml == pytest.approx(40 * 30 * 30 / 1000, rel=0.03)


def test_a_round_territory_is_taken_whole(tumour):
    tumour.vessels["portal_vein"] = _Tree(np.array([-1, 0]))
    middle = tumour.organ.points[tumour.organ.tets].mean(axis=1)
    fed = np.linalg.norm(middle - [42.0, 24.0, 15.0], axis=1) < 10.0
    tumour.tet_data["portal_vein"] = fed.astype(np.int64)
    wanted = tumour.organ.tet_volumes[fed].sum() / 1000
    do(tumour, Resect("territory", system="portal_vein", node=1, duration_s=0.1))
    assert sum(out.volume_ml for out in tumour.specimens) == pytest.approx(wanted, rel=0.03)


class _Tree:
    """As much of a carried vessel tree as a territory asks of it."""

    def __init__(self, parent):
        self.parent, self.flowing = parent, np.ones(len(parent), dtype=bool)

    def carried(self, change):
        return self


def test_a_spline_through_points_of_a_plane_is_that_plane(field):
    corners = ((35.0, float(y), float(z)) for y in (0, 20) for z in (0, 20))
    points = (*corners, (35.0, 10.0, 10.0))
    do(field, Resect("spline", points_mm=points, duration_s=0.1))
    assert field.specimens[0].volume_ml == pytest.approx(25 * 400 / 1000, rel=0.01)


def test_a_plane_cuts_the_organ_it_is_placed_in_alone():
    left, right = kuhn_block(SIZE, CELLS), kuhn_block(SIZE, CELLS)
    both = OrganMesh(
        np.concatenate([left.points, right.points + np.array([0.0, 0.0, 60.0])]),
        np.concatenate([left.tets, right.tets + len(left.points)]),
        np.concatenate([left.region, right.region]),
        {1: "liver"},
    )
    wall = both.exterior[(both.points[both.exterior][:, :, 0] < 1e-9).all(axis=1)]
    field = OperativeField(Interactive(Body(both, attachments=[Attachment("wall", wall, 50.0, 50.0)])))
    do(field, Resect("plane", (40.0, 10.0, 70.0), (1.0, 0.0, 0.0)))
    (out,) = field.specimens
    assert out.organ.points[:, 2].min() > 59.0
    assert out.volume_ml == pytest.approx(20 * 400 / 1000, rel=0.01)


@pytest.fixture(scope="module")
def neighbours():
    """A liver with two tumours that a kidney and a gallbladder touch, held everywhere at its back."""

    def region(middle):
        found = np.where(middle[:, 0] > 40.0, 3, np.where(middle[:, 0] < 10.0, 4, 1))
        for at in ([17.0, 15.0, 10.0], [33.0, 15.0, 10.0]):
            found[np.linalg.norm(middle - at, axis=1) < 3.5] = 2
        return found.astype(np.uint8)

    names = {1: "liver", 2: "liver_tumour", 3: "kidney_right", 4: "gallbladder"}
    organ = kuhn_block((60.0, 20.0, 20.0), (24, 8, 8), structures=names, region=region)
    back = organ.exterior[(organ.points[organ.exterior][:, :, 1] < 1e-9).all(axis=1)]
    body = Body(organ, attachments=[Attachment("back", back, 50.0, 50.0)], gravity_mm_s2=(0, 0, 0))
    middle = organ.points[organ.tets].mean(axis=1)
    fed = np.where(np.isin(organ.region, (1, 2)), np.where(middle[:, 0] > 25.0, 1, 0), -1)
    return OperativeField(Interactive(body), tet_data={"portal_vein": fed})


PLANE = ("plane", (25.0, 13.0, 10.0), (0.0, 1.0, 0.0))
CURVED = tuple((float(x), 12.0 + 0.5 * (x == 25.0), z) for x in (15.0, 25.0, 35.0) for z in (2.0, 18.0))


@pytest.mark.parametrize(
    ("act", "organ", "volume_ml"),
    [
        (Resect(*PLANE), "liver", 30 * 7 * 20 / 1000),
        (Resect(*PLANE, structure="kidney_right"), "kidney_right", 20 * 7 * 20 / 1000),
        (Resect("plane", (45.0, 13.0, 10.0), (0.0, 1.0, 0.0)), "kidney_right", 20 * 7 * 20 / 1000),
        (Resect("spline", points_mm=CURVED), "liver", 30 * 7.75 * 20 / 1000),
        (Resect("territory", system="portal_vein", node=1), "liver", 15 * 20 * 20 / 1000),
    ],
    ids=["where the point lies", "named", "point in the kidney", "spline", "territory"],
)
def test_organs_that_touch_are_divided_one_at_a_time(neighbours, act, organ, volume_ml):
    neighbours.reset()
    neighbours.vessels["portal_vein"] = _Tree(np.array([-1, 0]))
    before = neighbours.organ.volumes_ml
    do(neighbours, act)
    (out,) = neighbours.specimens
    assert out.volume_ml == pytest.approx(volume_ml, rel=0.06)
    own = {"liver", "liver_tumour"} if organ == "liver" else {organ}
    assert {out.organ.structures[int(value)] for value in np.unique(out.organ.region)} <= own
    for name, volume in neighbours.organ.volumes_ml.items():
        gone = out.organ.volumes_ml.get(name, 0.0)
        assert volume + gone == pytest.approx(before[name], rel=1e-9)
    # Nothing of the neighbours is opened: their own faces that are raw are those that touched the specimen.
    assert do(neighbours, Hold(0.3)).state == "converged"
    cut = neighbours.live.body.raw
    middle = neighbours.organ.points[cut].mean(axis=1)
    if organ == "liver":
        assert ((middle[:, 0] > 9.9) & (middle[:, 0] < 40.1)).all()


def test_the_tumour_that_is_pointed_at_is_taken_and_not_the_other(neighbours):
    neighbours.reset()
    tumour = neighbours.organ.volumes_ml["liver_tumour"]
    do(neighbours, Resect("margin", structure="liver_tumour", margin_mm=3.0, point_mm=(17.0, 20.0, 10.0)))
    (out,) = neighbours.specimens
    assert out.organ.volumes_ml["liver_tumour"] == pytest.approx(tumour / 2, rel=1e-9)
    assert neighbours.organ.volumes_ml["liver_tumour"] == pytest.approx(tumour / 2, rel=1e-9)
    neighbours.reset()
    with pytest.raises(SolverError, match=r"no 'spleen' in the organ; it has liver"):
        do(neighbours, Resect(*PLANE, structure="spleen"))


def test_each_of_several_tumours_gets_a_wedge_of_its_own(neighbours):
    neighbours.reset()
    do(neighbours, Resect("margin", structure="liver_tumour", margin_mm=1.5))
    assert len(neighbours.specimens) == 2
    assert all(out.organ.volumes_ml["liver_tumour"] > 0.1 for out in neighbours.specimens)
    assert not len(neighbours.organ.tets_of("liver_tumour"))


def test_a_margin_around_a_whole_organ_lies_in_its_neighbours(neighbours):
    neighbours.reset()
    before = neighbours.organ.volumes_ml
    do(neighbours, Resect("margin", structure="gallbladder", margin_mm=2.0))
    gone = sum(out.organ.volumes_ml.get("gallbladder", 0.0) for out in neighbours.specimens)
    assert gone == pytest.approx(before["gallbladder"], rel=1e-9)
    assert neighbours.organ.volumes_ml["liver"] < before["liver"] - 0.3
    assert neighbours.organ.volumes_ml["kidney_right"] == pytest.approx(before["kidney_right"], rel=1e-9)


def test_undo_gives_back_the_hash_and_two_replays_the_same(field):
    acts = [
        Grasp("jaws", radius_mm=15.0, point_mm=(60.0, 10.0, 10.0)),
        Incise("scalpel", NOTCH, 8.0, (0.0, 1.0, 0.0), 0.2),
        Resect("plane", (50.0, 0.0, 0.0), (1.0, 0.0, 0.0), duration_s=0.1),
        Hold(0.3),
    ]
    ends = []
    for _ in range(2):
        field.reset()
        for act in acts:
            before, started = field.state_hash(), field.snapshot()
            do(field, act)
            after, done = field.state_hash(), field.snapshot()
            assert after != before
            field.restore(started)
            assert field.state_hash() == before
            field.restore(done)
            assert field.state_hash() == after
        ends.append(field.state_hash())
    assert ends[0] == ends[1]


def test_in_real_time_the_cut_is_made_beside_the_frames(field):
    field.step(budget_s=0.01)
    carry = Incise("scalpel", NOTCH, 10.0, (0.0, 1.0, 0.0)).begin(field)
    field.live.grasp("jaws", [60.0, 10.0, 10.0], 15.0)
    field.live.move("jaws", [60.5, 10.0, 10.0])
    for share in (0.5, 1.0):
        carry(share)
        assert not field.events
        field.step(budget_s=0.01)
    while not field.live.topology:
        field.step(budget_s=0.01)
    assert field.events[-1].kind == "incision"
    assert reference_error(field.live)[1] < 0.1
    # A cut that would take all that is held is refused some frames later, and the tissue goes on.
    field.step(budget_s=0.01)
    carry = Resect("plane", (40.0, 0.0, 0.0), (1.0, 0.0, 0.0), keep_mm=(60.0, 10.0, 10.0)).begin(field)
    field.live.release("jaws")
    cuts = field.live.topology
    carry(1.0)
    field.finish()
    assert field.events[-1].kind == "refused"
    assert field.live.topology == cuts
    assert field.live.settle().state == "converged"
