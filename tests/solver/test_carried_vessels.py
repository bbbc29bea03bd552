"""Vessels on a box whose territories are halves: what clamps, divisions and cuts make of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from anatomy.embedding import Embedding
from anatomy.mesh import OrganMesh
from solver.actions import Clamp, Declamp, Divide, Hold, from_json
from solver.attachments import Attachment
from solver.body import Body
from solver.carried_vessels import CarriedTree, pedicle_of
from solver.circulation import Circulation, perfusion
from solver.cutting import Plane, cut
from solver.errors import SolverError
from solver.field import OperativeField
from solver.haemodynamics import Haemodynamics
from solver.interactive import Interactive
from solver.point_location import part_of
from solver.topology import TopologyChange
from solver.verification.blocks import kuhn_block

SIZE = (80.0, 40.0, 40.0)


def halves(organ, system="portal_vein", outflow=False, radius=4.0, trunk=-10.0):
    """A trunk from below the box to its middle, and one branch to the middle of each half; nodes 3 and 5 end it."""
    points = [
        [40.0, 20.0, trunk], [40.0, 20.0, 20.0], [30.0, 20.0, 20.0], [20.0, 20.0, 20.0],
        [50.0, 20.0, 20.0], [60.0, 20.0, 20.0],
    ]  # fmt: skip
    return CarriedTree.embed(organ, system, points, [radius] * 6, [-1, 0, 1, 2, 1, 4], outflow)


def serving(organ):
    """The left half of the box is fed by node 3, the right one by node 5."""
    left = organ.points[organ.tets].mean(axis=1)[:, 0] < 40.0
    return np.where(left, 3, 5)


def split_at_40(organ, removed=()):
    """The box cut in two at x = 40, where its grid has a plane; tetrahedra of `removed` sides are taken out."""
    right = organ.points[organ.tets].mean(axis=1)[:, 0] > 40.0
    on = np.flatnonzero(np.isclose(organ.points[:, 0], 40.0))
    copy = np.arange(len(organ.points))
    copy[on] = len(organ.points) + np.arange(len(on))
    tets = np.where(right[:, None], copy[organ.tets], organ.tets)
    parents = np.concatenate([np.arange(len(organ.points)), on])
    keep = ~(right if "right" in removed else np.zeros(len(tets), bool))
    used, tets = np.unique(tets[keep], return_inverse=True)
    after = OrganMesh(
        organ.points[parents[used]], tets.reshape(-1, 4), organ.region[keep], dict(organ.structures)
    )
    raw = after.exterior[np.isclose(after.points[after.exterior][:, :, 0], 40.0).all(axis=1)]
    return TopologyChange(
        organ, after, np.stack([parents[used]] * 2, axis=1), np.zeros(len(used)), np.flatnonzero(keep), raw
    )


@pytest.fixture(scope="module")
def live():
    organ = kuhn_block(SIZE, (8, 4, 4))
    wall = organ.exterior[(organ.points[organ.exterior][:, :, 2] < 1e-9).all(axis=1)]
    body = Body(organ, attachments=[Attachment("bed", wall, 20.0, 20.0)], gravity_mm_s2=(0, 0, 0))
    return Interactive(body)


def field_of(live, vein=True):
    live.reset()
    organ = live.body.organ
    vessels = {"portal_vein": halves(organ)}
    if vein:
        vessels["hepatic_vein"] = halves(organ, "hepatic_vein", outflow=True, trunk=50.0)
    data = {name: serving(organ) for name in vessels}
    return OperativeField(
        live, vessels=vessels, tet_data=data, processes={"circulation": Circulation.of(organ, vessels, data)}
    )


def do(field, act):
    return list(act.run(field))


def test_nodes_ride_on_the_tissue_and_outside_it(live):
    tree = halves(live.body.organ)
    rest = live.body.organ.points
    assert np.abs(tree.points(rest) - tree.scanned).max() < 1e-9
    # Under an affine map a node inside goes exactly with it, and so does one a little outside.
    stretch = np.array([[1.1, 0.2, 0.0], [0.0, 0.9, 0.1], [0.0, 0.0, 1.05]])
    moved = tree.points(rest @ stretch.T)
    assert np.abs(moved - tree.scanned @ stretch.T)[1:].max() < 1e-9
    assert np.abs(moved - tree.scanned @ stretch.T)[0].max() < 2.0


def test_a_clamp_takes_the_known_half(live):
    field = field_of(live)
    at_rest, before = field.state_hash(), field.snapshot()
    do(field, Clamp("bulldog", point_mm=(31.0, 22.0, 20.0), system="portal_vein"))
    found = perfusion(field.organ, field.vessels, field.tet_data)
    assert found.describe() == pytest.approx(
        {
            "supplied_ml": 128.0, "ischaemic_ml": 64.0, "ischaemic_percent": 50.0,
            "congested_ml": 0.0, "congested_percent": 0.0,
        }
    )  # fmt: skip
    left = field.organ.points[field.organ.tets].mean(axis=1)[:, 0] < 40.0
    assert np.array_equal(~found.perfused, left)
    assert field.events[-1].kind == "clamp"
    assert "64 ml (50 %) of 128 ml have no inflow" in field.events[-1].text
    assert field.state_hash() != at_rest
    field.restore(before)
    assert field.state_hash() == at_rest
    assert perfusion(field.organ, field.vessels, field.tet_data).perfused.all()


def test_several_clamps_together_and_the_hilum(live):
    field = field_of(live)
    do(field, Clamp("portal left", system="portal_vein", node=2))
    do(field, Clamp("venous right", system="hepatic_vein", node=4))
    found = perfusion(field.organ, field.vessels, field.tet_data).describe()
    assert (found["ischaemic_percent"], found["congested_percent"]) == pytest.approx((50.0, 50.0))
    do(field, Clamp("pringle", pringle=True))
    found = perfusion(field.organ, field.vessels, field.tet_data).describe()
    # Nothing is congested that is not fed.
    assert (found["ischaemic_ml"], found["congested_ml"]) == pytest.approx((128.0, 0.0))
    do(field, Declamp("pringle"))
    do(field, Declamp("portal left"))
    found = perfusion(field.organ, field.vessels, field.tet_data).describe()
    assert (found["ischaemic_ml"], found["congested_ml"]) == pytest.approx((0.0, 64.0))


def test_a_clamp_on_no_vessel_is_refused_and_nothing_changes(live):
    field = field_of(live)
    at_rest = field.state_hash()
    for act, words in (
        (
            Clamp("a", point_mm=(5.0, 20.0, 20.0 + 17.0)),
            "within 15 mm of .* the nearest, of portal_vein|hepatic",
        ),
        (Clamp("a", system="hepatic_artery", node=1), "no vessel system 'hepatic_artery'"),
        (Clamp("a", system="portal_vein", node=6), "no node 6"),
        (Declamp("a"), "no clamp 'a' to open; on vessels are: none"),
    ):
        with pytest.raises(SolverError, match=words):
            do(field, act)
    assert field.state_hash() == at_rest
    do(field, Clamp("a", system="portal_vein", node=2))
    with pytest.raises(SolverError, match="'a' is on a vessel already"):
        do(field, Clamp("a", pringle=True))
    do(field, Divide("portal_vein", node=5))
    with pytest.raises(SolverError, match="divided already"):
        do(field, Divide("portal_vein", node=5))
    bare = OperativeField(live)
    with pytest.raises(SolverError, match="no vessels to clamp"):
        do(bare, Clamp("a", point_mm=(0.0, 0.0, 0.0)))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"act": "clamp", "tool": "a"}, "only one of them"),
        ({"act": "clamp", "tool": "a", "pringle": True, "point_mm": [0, 0, 0]}, "only one of them"),
        ({"act": "clamp", "tool": "a", "node": 3}, "needs the 'system'"),
        ({"act": "clamp", "tool": "a", "node": 3.5, "system": "portal_vein"}, "whole number"),
        ({"act": "clamp", "tool": "a", "pringle": "yes"}, "true or false"),
        ({"act": "divide", "point_mm": [0, 0]}, "three numbers"),
        ({"act": "divide", "point_mm": [0, 0, 0], "sealed": 1}, "true or false"),
    ],
)
def test_nonsense_in_a_script_is_refused(data, words):
    with pytest.raises(SolverError, match=words):
        from_json(data)


def test_acts_come_back_from_json():
    for act in (
        Clamp("a", point_mm=(1.0, 2.0, 3.0)), Clamp("p", pringle=True), Declamp("a"),
        Divide("portal_vein", node=3, sealed=True),
    ):  # fmt: skip
        assert from_json(act.to_json()) == act


def test_a_cut_divides_what_crosses_it(live):
    organ = live.body.organ
    change = split_at_40(organ)
    # Shifted off the plane of the cut, so that one branch alone crosses it.
    tree = halves(organ)
    shifted = CarriedTree.embed(
        organ, "portal_vein", tree.scanned + np.array([5.0, 0.0, 0.0]), tree.radius, tree.parent
    )
    after = shifted.carried(change)
    assert after.divided == {2}
    assert not after.flowing[[2, 3]].any()
    assert after.flowing[[0, 1, 4, 5]].all()
    # Every node rides on a tetrahedron of its own side, and is where it was.
    side = change.after.points[change.after.tets[after.tet]].mean(axis=1)[:, 0] > 40.0
    assert np.array_equal(side, shifted.scanned[:, 0] > 40.0)
    assert np.abs(after.points(change.after.points) - shifted.scanned).max() < 1e-9
    # The halves drawn apart take their nodes along.
    apart = change.after.points.copy()
    right = np.unique(change.after.tets[change.after.points[change.after.tets].mean(axis=1)[:, 0] > 40.0])
    apart[right] += [7.0, 0.0, 0.0]
    moved = after.points(apart) - shifted.scanned
    assert moved[:, 0] == pytest.approx(np.where(shifted.scanned[:, 0] > 40.0, 7.0, 0.0))


def test_a_vessel_that_leaves_with_a_specimen_is_divided(live):
    organ = live.body.organ
    tree = halves(organ)
    shifted = CarriedTree.embed(
        organ, "portal_vein", tree.scanned - np.array([5.0, 0.0, 0.0]), tree.radius, tree.parent
    )
    change = split_at_40(organ, removed=("right",))
    after = shifted.carried(change)
    assert after.divided == {4}
    assert np.array_equal(after.present, shifted.scanned[:, 0] < 40.0)
    assert np.isnan(after.points(change.after.points)[4:]).all()
    assert after.nearest((60.0, 20.0, 20.0), change.after.points)[0] not in (4, 5)
    again = after.carried(_nothing(change.after))
    assert again.digest() == after.digest()


def _nothing(organ):
    here = np.arange(len(organ.points))
    return TopologyChange(
        organ, organ, np.stack([here] * 2, axis=1), np.zeros(len(here)), np.arange(len(organ.tets)),
        np.zeros((0, 3), dtype=np.int64),
    )  # fmt: skip


def test_a_refined_mesh_carries_the_same_places(live):
    """Every edge along x is halved; nodes find the part they lie in, and follow an affine map exactly."""
    coarse = live.body.organ
    fine = kuhn_block(SIZE, (16, 8, 8))
    centroids = fine.points[fine.tets].mean(axis=1)
    # Kuhn's cut of halved bricks nests in that of the whole ones.
    owner = Embedding(coarse, centroids)
    assert owner.outside_mm.max() == 0.0
    change = TopologyChange(
        coarse, fine, np.zeros((len(fine.points), 2), dtype=np.int64), np.zeros(len(fine.points)), owner.tet,
        np.zeros((0, 3), dtype=np.int64),
    )  # fmt: skip
    tree = halves(coarse)
    after = tree.carried(change)
    assert not after.divided
    assert np.abs(after.points(fine.points) - tree.scanned).max() < 1e-9
    stretch = np.array([[1.1, 0.2, 0.0], [0.0, 0.9, 0.1], [0.0, 0.0, 1.05]])
    assert np.abs(after.points(fine.points @ stretch.T) - tree.scanned @ stretch.T)[1:].max() < 1e-9


def test_the_flow_out_of_a_stump_is_what_pressure_drives(live):
    tree, blood = halves(live.body.organ, radius=1.5), Haemodynamics()
    # Torricelli: at the mouth of the root nothing resists, Q = A √(2 Δp / ρ).
    p = 9.0 * 133.322387415
    area = np.pi * 0.0015**2
    assert 1e6 * 60 * area * np.sqrt(2 * p / 1060.0) == pytest.approx(blood.driven_ml_min(tree)[0])
    # Node 3, cut at its beginning: 40 mm of vessel resist, by Poiseuille.
    resistance = 8 * 3.5e-3 * 0.040 / (np.pi * 0.0015**4)
    flow = blood.driven_ml_min(tree)[3] / 60e6
    assert resistance * flow + 0.5 * 1060.0 * (flow / area) ** 2 == pytest.approx(p)
    # No vessel gives more than the whole system has.
    assert blood.driven_ml_min(halves(live.body.organ, radius=8.0))[1] == 864.0


def test_a_divided_branch_bleeds_until_it_is_clamped_upstream(live):
    field = field_of(live, vein=False)
    do(field, Divide("portal_vein", node=3))
    (stump,) = field.processes["circulation"].stumps
    # Half of the organ hung on it, and so does half of the portal flow.
    assert stump.carried_ml_min == pytest.approx(432.0)
    assert 432.0 <= stump.bound_ml_min <= 864.0
    assert [event.kind for event in field.events] == ["divide", "bleeding"]
    do(field, Hold(6.0))
    lost = field.processes["circulation"].lost_ml
    # The frame of the division and six seconds.
    assert lost == pytest.approx(432.0 * (6.0 + 1 / 30) / 60.0)
    do(field, Clamp("c", system="portal_vein", node=2))
    assert field.events[-1].kind == "haemostasis"
    do(field, Hold(3.0))
    assert field.processes["circulation"].lost_ml == pytest.approx(lost)
    assert field.processes["circulation"].ischaemic_s == pytest.approx(9.0 + 2 / 30)
    do(field, Declamp("c"))
    do(field, Hold(1.0))
    assert field.processes["circulation"].lost_ml > lost + 5.0


def test_a_sealed_or_narrow_vessel_does_not_bleed(live):
    field = field_of(live)
    do(field, Divide("portal_vein", node=3, sealed=True))
    assert not field.processes["circulation"].stumps
    assert perfusion(field.organ, field.vessels, field.tet_data).describe()["ischaemic_ml"] == pytest.approx(
        64.0
    )
    narrow = halves(live.body.organ, radius=0.9)
    field.vessels = {"portal_vein": narrow, "hepatic_vein": field.vessels["hepatic_vein"]}
    do(field, Divide("portal_vein", node=3))
    assert not field.processes["circulation"].stumps


def test_both_stumps_of_a_vein_bleed(live):
    field = field_of(live)
    do(field, Divide("hepatic_vein", node=2))
    (stump,) = field.processes["circulation"].stumps
    # What the half is still fed, portal and arterial blood, pours out of the stump of the tissue.
    fed = 0.5 * (864.0 + 288.0)
    back = Haemodynamics().driven_ml_min(field.vessels["hepatic_vein"])[2]
    assert stump.carried_ml_min == pytest.approx(fed)
    assert stump.bound_ml_min == pytest.approx(fed + back)
    do(field, Clamp("pringle", pringle=True))
    (stump,) = field.processes["circulation"].stumps
    assert stump.carried_ml_min == 0.0
    assert stump.bound_ml_min == pytest.approx(back)


def test_the_same_acts_give_the_same_hash(live):
    acts = [
        Clamp("c", system="portal_vein", node=2),
        Divide("portal_vein", node=3),
        Hold(0.2),
        Declamp("c"),
        Hold(0.2),
    ]
    hashes = []
    for _ in range(2):
        field = field_of(live)
        for act in acts:
            do(field, act)
        hashes.append((field.state_hash(), field.processes["circulation"].lost_ml))
    assert hashes[0] == hashes[1]


def test_a_piece_too_narrow_to_be_true_does_not_hold_the_blood_back(live):
    tree, blood = halves(live.body.organ, radius=1.5), Haemodynamics()
    narrow = replace(tree, radius=np.where(np.arange(6) == 1, 0.3, tree.radius))
    assert blood.driven_ml_min(narrow) == pytest.approx(blood.driven_ml_min(tree))
    assert narrow.calibre_mm(1) == pytest.approx(3.0)
    # What it feeds may well be narrower.
    thin = replace(tree, radius=np.where(np.arange(6) == 3, 0.3, tree.radius))
    assert thin.calibre_mm(3) == pytest.approx(0.6)


def test_a_cut_anywhere_divides_just_what_it_parts(live):
    """Random trees, random planes: a piece is divided where its ends no longer hang together, and nowhere else."""
    live.reset()
    organ, rng = live.body.organ, np.random.default_rng(5)
    points = rng.uniform(1.0, np.array(SIZE) - 1.0, (300, 3))
    # Each node hangs on the nearest one before it.
    parent = [-1, *(int(np.argmin(np.linalg.norm(points[:n] - points[n], axis=1))) for n in range(1, 300))]
    tree = CarriedTree.embed(organ, "portal_vein", points, np.full(300, 1.5), parent)
    cut_through = 0
    for _ in range(6):
        normal = rng.normal(size=3)
        normal /= np.linalg.norm(normal)
        origin = np.array(SIZE) / 2 + rng.normal(size=3) * 5.0
        change = cut(organ, organ.points, Plane(tuple(origin), tuple(normal)))
        after = tree.carried(change)
        assert np.abs(after.points(change.after.points) - points).max() < 1e-9
        piece = part_of(change.after, after.tet)
        rows = np.arange(1, 300)
        apart = piece[rows] != piece[tree.parent[rows]]
        assert set(rows[apart]) <= after.divided
        height = (points - origin) @ normal
        sides = (height[rows] > 0) != (height[tree.parent[rows]] > 0)
        # On the outer surface the cut keeps to vertices: within two millimetres of the plane either answer is right.
        clear = np.minimum(np.abs(height[rows]), np.abs(height[tree.parent[rows]])) > 2.0
        assert np.array_equal(np.isin(rows, sorted(after.divided))[clear], sides[clear])
        cut_through += len(after.divided)
    assert cut_through > 60


def test_an_organ_on_one_pedicle_is_clamped_whole_and_stays_clamped_when_cut(live):
    live.reset()
    organ = live.body.organ
    system = pedicle_of("kidney_left")
    right = organ.points[organ.tets].mean(axis=1)[:, 0] > 40.0
    vessels = {"portal_vein": halves(organ), system: CarriedTree.pedicle(system)}
    data = {"portal_vein": np.where(right, -1, 3), system: np.where(right, 0, -1)}
    field = OperativeField(
        live, vessels=vessels, tet_data=data, processes={"circulation": Circulation.of(organ, vessels, data)}
    )
    do(field, Clamp("bulldog", organ="kidney_left"))
    assert (
        "All inflow of the kidney left is closed at the hilum: 64 ml (100 %) of 64 ml"
        in field.events[-1].text
    )
    found = perfusion(field.organ, field.vessels, field.tet_data).describe()
    assert found["ischaemic_ml"] == pytest.approx(64.0)
    # No vein is known of it: what is fed is not congested.
    do(field, Declamp("bulldog"))
    assert perfusion(field.organ, field.vessels, field.tet_data).describe()["congested_ml"] == 0.0
    change = split_at_40(organ)
    assert field.vessels[system].carried(change) is field.vessels[system]
    # A point finds a vessel that is seen; the hilum of the liver is no other organ's.
    do(field, Clamp("p", point_mm=(58.0, 20.0, 20.0)))
    assert field.vessels["portal_vein"].clamped == {5}
    for act, words in (
        (Clamp("x", organ="spleen"), r"no inflow of 'spleen' .* one pedicle \(kidney_left\)"),
        (Clamp("x", system=system, point_mm=(60.0, 20.0, 20.0)), "name the 'organ'"),
        (Divide(system, node=0), "not known where"),
    ):
        with pytest.raises(SolverError, match=words):
            do(field, act)
    do(field, Clamp("q", pringle=True))
    assert not field.vessels[system].clamped


def test_stumps_on_one_trunk_share_what_passes_through_it(live):
    field = field_of(live, vein=False)
    narrow = halves(live.body.organ, radius=1.2)
    field.vessels = {"portal_vein": narrow.with_division([2, 4])}
    field.step(iterations=0)
    blood = field.processes["circulation"]
    alone = Haemodynamics().driven_ml_min(narrow)
    assert len(blood.stumps) == 2
    assert [stump.driven_ml_min for stump in blood.stumps] == pytest.approx([alone[2], alone[4]])
    # Each alone would let out nearly what the trunk can bring; together they cannot let out more than it.
    together = np.minimum(alone[2] + alone[4], alone[1])
    assert alone[2] + alone[4] > 1.2 * together
    assert blood.flows_ml_min == pytest.approx((864.0, max(864.0, min(together, alone[0]))))
    assert "2 branches of the portal vein, up to 2.4 mm wide" in field.events[-1].text
