"""Margins, volumes and remnants against geometry that is known exactly."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from anatomy.mesh import OrganMesh
from anatomy.vessels import VesselTree
from solver.actions import Clamp, Divide, Grasp, Hold, Pull
from solver.attachments import Attachment
from solver.body import Body
from solver.carried_vessels import CarriedTree
from solver.circulation import Circulation
from solver.cutting import Plane, cut, pieces, without
from solver.field import OperativeField
from solver.interactive import Interactive
from solver.verification.blocks import kuhn_block
from tests.generated import check_section, markdown_table
from twin.errors import TwinError
from twin.margins import TUMOUR, cut_faces, find_tumours, margin, organ_of, surroundings
from twin.meter import OperationMeter
from twin.metric_table import page

SIZE = (80.0, 40.0, 40.0)
CENTRE, RADIUS = np.array([25.0, 20.0, 20.0]), 8.0


def with_ball(cells=(16, 8, 8)):
    """The box with a ball of tumour in it: a cube of the grid, whose surface is mapped on to the sphere exactly."""
    cube = 10.0
    organ = kuhn_block(
        SIZE, cells, {1: "liver", 2: "liver_tumour"},
        lambda c: np.where(np.abs(c - CENTRE).max(axis=1) < cube, 2, 1).astype(np.uint8),
    )  # fmt: skip
    away = organ.points - CENTRE
    largest = np.abs(away).max(axis=1)
    round_ = away * (RADIUS / cube * largest / np.maximum(np.linalg.norm(away, axis=1), 1e-9))[:, None]
    # From the cube to half as far again the map fades out.
    share = np.clip((largest - cube) / 5.0, 0.0, 1.0)[:, None]
    return OrganMesh(
        CENTRE + (1.0 - share) * round_ + share * away, organ.tets, organ.region, organ.structures
    )


@pytest.fixture(scope="module")
def organ():
    return with_ball()


@pytest.fixture(scope="module")
def live(organ):
    wall = organ.exterior[(organ.points[organ.exterior][:, :, 2] < 1e-9).all(axis=1)]
    return Interactive(
        Body(organ, attachments=[Attachment("bed", wall, 50.0, 50.0)], gravity_mm_s2=(0, 0, 0))
    )


def trees():
    points = np.array([[40, 20, 1], [40, 20, 20], [32, 20, 20], [45, 20, 20], [60, 20, 20]], dtype=np.float64)
    radius = np.array([3.0, 3.0, 3.0, 1.5, 1.5])
    return {"portal_vein": VesselTree(points, radius, np.array([-1, 0, 1, 1, 3]))}


def field_of(live):
    live.reset()
    organ = live.body.organ
    (tree,) = trees().values()
    vessels = {"portal_vein": CarriedTree.embed(organ, "portal_vein", tree.points, tree.radius, tree.parent)}
    left = organ.points[organ.tets].mean(axis=1)[:, 0] < 40.0
    data = {"portal_vein": np.where(left, 2, 4)}
    circulation = Circulation.of(organ, vessels, data)
    return OperativeField(
        live, vessels=vessels, tet_data={**data, TUMOUR: find_tumours(organ)[1]},
        processes={"circulation": circulation},
    )  # fmt: skip


def test_the_cut_faces_of_a_piece_are_what_a_plane_laid_open(organ):
    change = cut(organ, organ.points, Plane((37.3, 0.0, 0.0), (1.0, 0.0, 0.0)))
    number = pieces(change.after)
    assert number.max() == 1
    for piece in (0, 1):
        rest = without(change.after, number != piece).after
        faces = cut_faces(rest, organ)
        a, b, c = (rest.points[faces[:, i]] for i in range(3))
        area = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()
        assert area == pytest.approx(40.0 * 40.0, rel=2e-3)
        assert np.abs(rest.points[faces][:, :, 0] - 37.3).max() < 1.5
    # What is whole has no cut faces.
    assert not len(cut_faces(organ, organ))


def test_the_margin_of_a_ball_from_a_plane_is_exact(organ):
    """The plane runs through grid vertices at x = 40: 15 mm from the centre, 7 mm from the ball."""
    change = cut(organ, organ.points, Plane((40.0, 0.0, 0.0), (1.0, 0.0, 0.0)))
    number = pieces(change.after)
    left = number == number[np.flatnonzero(change.after.region == 2)[0]]
    specimen = without(change.after, ~left).after
    assert specimen.tet_volumes.sum() == pytest.approx(40.0 * 40.0 * 40.0)
    own = specimen.tets[specimen.region == 2]
    found = margin(specimen.points, own, cut_faces(specimen, organ))
    assert found.minimum_mm == pytest.approx(40.0 - 25.0 - RADIUS, abs=1e-9)
    # Over a sphere the distance to a plane is uniform between its least and its largest (Archimedes).
    assert found.median_mm == pytest.approx(15.0, abs=0.3)
    assert found.p5_mm == pytest.approx(7.0 + 0.05 * 2 * RADIUS, abs=0.3)
    assert sum(found.area_share) == pytest.approx(1.0)
    # Between 7 and 10 mm lie 3/16 of it, between 10 and 15 mm 5/16, between 15 and 20 mm 5/16.
    assert found.area_share[3:6] == pytest.approx((3 / 16, 5 / 16, 5 / 16), abs=0.05)
    # Stretched by a tenth along the way, everything is a tenth farther.
    longer = margin(specimen.points * [1.1, 1.0, 1.0], own, cut_faces(specimen, organ))
    assert longer.minimum_mm == pytest.approx(1.1 * 7.0, abs=1e-9)
    assert margin(specimen.points, own, np.zeros((0, 3), dtype=np.int64)) is None


def test_a_cut_through_a_tumour_has_no_margin(organ):
    change = cut(organ, organ.points, Plane((25.0, 0.0, 0.0), (1.0, 0.0, 0.0)))
    tumour = change.after.tets[change.after.region == 2]
    assert margin(change.after.points, tumour, change.raw).minimum_mm == 0.0


def test_surroundings_of_a_tumour(organ):
    found = surroundings(organ, np.flatnonzero(organ.region == 2), trees())
    # The ball's nearest wall of the box is 20 mm from its centre.
    assert found["to_capsule_mm"] == pytest.approx(20.0 - RADIUS, abs=1e-9)
    branches = found["vessels"]["portal_vein"]
    assert [round(one["calibre_mm"], 6) for one in branches] == [6.0, 6.0, 3.0]
    # The branch that ends at x = 32 reaches into the ball, whose wall is at 33.
    assert branches[0]["distance_mm"] == 0.0
    # The trunk's axis is 15 mm off the centre, and it is 6 mm wide.
    assert branches[1]["distance_mm"] == pytest.approx(15.0 - RADIUS - 3.0, abs=0.05)
    assert branches[2]["distance_mm"] == pytest.approx(40 + 1.25 - 25 - RADIUS - 1.5, abs=0.05)


def test_two_tumours_are_told_apart():
    centres = np.array([[20.0, 20.0, 20.0], [60.0, 20.0, 20.0]])
    organ = kuhn_block(
        SIZE, (16, 8, 8), {1: "liver", 2: "liver_tumour", 3: "kidney_left", 4: "kidney_tumour_left"},
        lambda c: np.where(
            (np.linalg.norm(c - centres[0], axis=1) < 6.0) | (np.linalg.norm(c - centres[1], axis=1) < 9.0), 2, 1
        ).astype(np.uint8),
    )  # fmt: skip
    names, number = find_tumours(organ)
    assert names == ["liver_tumour 1", "liver_tumour 2"]
    middle = organ.points[organ.tets].mean(axis=1)
    assert middle[number == 0].mean(axis=0) == pytest.approx(centres[1], abs=0.5)
    assert middle[number == 1].mean(axis=0) == pytest.approx(centres[0], abs=0.5)
    assert organ_of("kidney_tumour_left") == "kidney_left"
    assert organ_of("spleen") == "spleen"


def test_clamps_together_give_the_remnant_in_ml_and_percent(live):
    field = field_of(live)
    meter = OperationMeter(field, trees())
    tumour = field.organ.volumes_ml["liver_tumour"]
    for act in (Clamp("a", system="portal_vein", node=2), Divide("portal_vein", node=4), Hold(3.0)):
        for frame in act.run(field):
            meter.watch(frame)
    found = meter.measured(undos=2, acts=3)
    json.dumps(found, allow_nan=False)
    liver = found["organs"]["liver"]
    assert liver["whole_ml"] == pytest.approx(128.0)
    assert liver["remnant_percent"] == pytest.approx(100.0)
    assert liver["specimen_ml"] == pytest.approx(0.0)
    # Tumour does not count as what works afterwards.
    assert liver["future_remnant_ml"] == pytest.approx(128.0 - tumour)
    assert liver["future_remnant_percent"] == pytest.approx(100.0)
    assert liver["future_remnant_perfused_ml"] == 0.0
    assert found["perfusion"]["ischaemic_percent"] == pytest.approx(100.0)
    assert found["vessels_divided"]["count"] == 1
    assert found["vessels_divided"]["widest_mm"] == pytest.approx(3.0)
    (vessel,) = found["vessels_divided"]["vessels"]
    half = 864.0 * 0.5
    assert vessel["bleeding_ml_min"] == pytest.approx(half)
    assert found["bleeding"]["lost_ml"] == pytest.approx(half * (3.0 + 1 / 30) / 60.0)
    assert (found["undos"], found["acts"]) == (2, 3)
    assert found["tumours"]["liver_tumour"]["left_ml"] == pytest.approx(tumour)
    assert found["tumours"]["liver_tumour"]["margin"] == {"scanned": None, "deformed": None}
    # Opened again, half is fed.
    field.vessels = {"portal_vein": field.vessels["portal_vein"].without_clamp("a")}
    left = meter.live()["organs"]["liver"]
    assert left["future_remnant_perfused_ml"] == pytest.approx(64.0 - tumour)
    assert left["future_remnant_perfused_percent"] == pytest.approx(
        100.0 * (64.0 - tumour) / (128.0 - tumour)
    )


def test_what_was_resected_is_measured_in_both_shapes(live):
    """The half with the tumour is taken out."""
    field = field_of(live)
    meter = OperationMeter(field, trees())
    organ, before = field.organ, field.snapshot()
    at_rest = field.state_hash()
    change = cut(organ, organ.points, Plane((40.0, 0.0, 0.0), (1.0, 0.0, 0.0)))
    number = pieces(change.after)
    field.change(change, taken=number == number[np.flatnonzero(change.after.region == 2)[0]])
    found = meter.measured()
    liver = found["organs"]["liver"]
    assert liver["specimen_ml"] == pytest.approx(64.0)
    assert liver["specimen_percent"] == pytest.approx(50.0)
    assert liver["specimen_ml"] + liver["remnant_ml"] == pytest.approx(liver["whole_ml"], rel=1e-12)
    tumour = found["tumours"]["liver_tumour"]
    assert tumour["left_ml"] == 0.0
    assert not tumour["cut_through"]
    assert tumour["margin"]["scanned"]["minimum_mm"] == pytest.approx(7.0)
    assert found["specimens"][0]["structures"]["liver_tumour"] == pytest.approx(
        organ.volumes_ml["liver_tumour"]
    )
    # Had it been drawn out by a fifth when it was taken, so had the margin.
    (specimen,) = field.specimens
    field.specimens = (replace(specimen, displacement=specimen.organ.points * [0.2, 0.0, 0.0]),)
    drawn = meter.measured()["tumours"]["liver_tumour"]["margin"]
    assert drawn["scanned"]["minimum_mm"] == pytest.approx(7.0)
    assert drawn["deformed"]["minimum_mm"] == pytest.approx(1.2 * 7.0)
    # The branch to the left left with the specimen; the trunk in the plane of the cut is open: it bleeds.
    field.step(iterations=1)
    assert 2 in field.vessels["portal_vein"].divided
    assert [event.kind for event in field.events][:1] == ["specimen"]
    assert "bleeding" in [event.kind for event in field.events]
    field.restore(before)
    assert field.state_hash() == at_rest
    assert meter.measured()["organs"]["liver"]["remnant_percent"] == pytest.approx(100.0)


def test_a_wedge_that_cuts_the_tumour_is_told(live):
    field = field_of(live)
    meter = OperationMeter(field)
    organ = field.organ
    change = cut(organ, organ.points, Plane((25.0, 0.0, 0.0), (1.0, 0.0, 0.0)))
    left = change.after.points[change.after.tets].mean(axis=1)[:, 0] < 25.0
    number = pieces(change.after)
    field.change(change, taken=number == number[np.flatnonzero(left)[0]])
    tumour = meter.measured()["tumours"]["liver_tumour"]
    assert tumour["cut_through"]
    assert tumour["left_ml"] == pytest.approx(0.5 * tumour["volume_ml"], rel=0.02)
    assert tumour["margin"]["scanned"]["minimum_mm"] == 0.0


def test_the_work_of_a_pull_is_the_energy_of_the_tissue_and_its_bed(live):
    field = field_of(live)
    meter = OperationMeter(field)
    rest = field.live._energy
    for act in (Grasp("g", point_mm=(40.0, 20.0, 40.0), radius_mm=9.0), Pull("g", (0.0, 0.0, 6.0), 3.0)):
        for frame in act.run(field, iterations=30):
            meter.watch(frame)
    field.live.settle(1e-3)
    found = meter.measured()
    tools = found["tools"]
    assert tools["path_mm"] == pytest.approx(6.0)
    stored = (field.live._energy - rest) / 1000.0
    assert tools["work_mJ"] == pytest.approx(stored, rel=0.02)
    force = np.linalg.norm(field.live.forces_N["g"])
    assert tools["peak_force_N"] == pytest.approx(force, rel=0.02)
    assert tools["by_tool"]["g"]["impulse_N_s"] == pytest.approx(0.5 * 3.0 * force, rel=0.15)
    # Without the bed less is stored, but most of it.
    assert 0.3 * stored < found["tissue"]["strain_energy_mJ"] < stored
    assert found["tissue"]["largest_stretch"] > 1.05


def test_the_largest_stretch_is_that_of_the_map(live):
    field = field_of(live)
    meter = OperationMeter(field)
    stretch = np.array([[1.2, 0.3, 0.0], [0.0, 0.9, 0.1], [0.0, 0.2, 1.0]])
    field.live._u = field.live.body.reference_points @ (stretch - np.eye(3)).T
    assert meter._largest_stretch() == pytest.approx(np.linalg.svd(stretch)[1][0])


def test_live_measures_are_cheap_and_a_bare_field_is_refused(live):
    field = field_of(live)
    meter = OperationMeter(field)
    meter.live()
    started = time.perf_counter()
    for _ in range(10):
        meter.live()
    assert json.dumps(meter.live(), allow_nan=False)
    print(f"live measures: {100 * (time.perf_counter() - started):.2f} ms")
    with pytest.raises(TwinError, match=r"not made by twin.operating"):
        OperationMeter(OperativeField(live))


def test_every_measure_stands_in_the_documentation():
    table = markdown_table(
        ("measure", "key", "unit", "how it is computed", "source"),
        [(title, f"`{key}`", unit, text, source) for title, key, unit, text, source in page()],
    )
    check_section("metrics.md", "measures", table)
