"""Clamps on a made liver whose portal branches are known: see tests/anatomy/vessels."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from typer.testing import CliRunner

from anatomy import Scan, structures
from solver.actions import Clamp, Hold
from solver.circulation import perfusion
from tests.anatomy.vessels.test_couinaud import LEVEL, around, portal
from tests.anatomy.vessels.test_liver import labelled
from twin.build import Choice, build_case
from twin.case import Case
from twin.errors import TwinError
from twin.operating import carried_vessels
from twin.perfusion import clamp
from twin.plans import read_plans
from twin.rehearsal import Rehearsal
from viewer.terminal import app
from viewer.vessel_picture import picture_vessels


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> Case:
    folder = tmp_path_factory.mktemp("perfusion")
    labels = labelled(common=False)
    hounsfield = np.where(labels.array > 0, 60, -1000).astype(np.int16)
    image = sitk.GetImageFromArray(hounsfield)
    image.CopyInformation(labels.image)
    Scan(image).write(folder / "scan.nrrd")
    labels.write(folder / "labels.nrrd")
    wanted = Choice(["liver", "portal_vein", "hepatic_vein"], edge_mm=20.0)
    return build_case(folder / "scan.nrrd", folder / "case", labels=folder / "labels.nrrd", choice=wanted)


def test_a_case_keeps_its_trees_and_segments(case):
    again = Case.open(case.path)
    assert sorted(again.vessels) == ["hepatic_vein", "portal_vein"]
    # The great vessels were not asked for and still say where the trees begin.
    root = again.vessels["portal_vein"].points[again.vessels["portal_vein"].roots[0]]
    assert np.linalg.norm(root - [-5.0, -25.0, -73.0]) < 8.0
    assert again.segments.volumes_ml == pytest.approx(again.facts["vessels"]["segments_ml"])
    again.check_files()


def test_a_clamp_on_a_branch_takes_what_it_feeds(case):
    tree, ends = portal()
    end = tree.points[ends["posterior", True]]
    trunk, twig = clamp(case, [(-5.0, -25.0, -75.0), (end[0] + 3.0, end[1] - 1.0, end[2] - 3.0)])
    assert trunk.system == twig.system == "portal_vein"
    assert trunk.share == pytest.approx(1.0, abs=0.02)
    assert twig.calibre_mm == pytest.approx(4.0, abs=0.6)
    # The end of one of eight branches.
    assert 0.02 < twig.share < 0.15
    assert twig.territory_ml == pytest.approx(twig.share * trunk.territory_ml / trunk.share)


def test_a_clamp_away_from_every_vessel_is_refused(case):
    with pytest.raises(TwinError, match="No vessel lies within 15 mm"):
        clamp(case, [(-100.0, -20.0, -45.0 + 38.0)])
    with pytest.raises(TwinError, match="LPS mm, not"):
        clamp(case, [(float("nan"), 0.0, 0.0)])


def test_the_command_shows_trees_segments_and_clamps(case, tmp_path):
    x, y, z = around(140.0, 30.0, LEVEL)
    run = CliRunner().invoke(
        app,
        ["vessels", str(case.path), f"--clamp={x:.1f},{y:.1f},{z:.1f}", "--json", str(tmp_path / "v.json")],
    )
    assert run.exit_code == 0, run.output
    assert "Couinaud segment" in run.output
    assert all(f"│ {numeral} " in run.output for numeral in ("II", "IV", "VIII"))
    assert "Portal vein tree" in run.output
    facts = json.loads((tmp_path / "v.json").read_text())
    assert facts["clamps"][0]["system"] == "portal_vein"
    # The right branch feeds the anterior and posterior sectors, but for what lies nearest to its first centimetres.
    right = sum(facts["segments_ml"][f"liver_segment_{n}"] for n in (5, 6, 7, 8))
    assert 0.75 * right < facts["clamps"][0]["territory_ml"] < 1.05 * right
    refused = CliRunner().invoke(app, ["vessels", str(case.path), "--clamp=here"])
    assert refused.exit_code != 0
    assert "is no point" in refused.output


def test_a_picture_of_another_type_is_refused_in_a_sentence(case, tmp_path):
    run = CliRunner().invoke(app, ["vessels", str(case.path), "--picture", str(tmp_path / "vessels.txt")])
    assert run.exit_code == 1
    assert "must end in .png" in run.output
    assert list(tmp_path.iterdir()) == []


def test_the_picture_shows_both_trees(case, tmp_path):
    picture_vessels(case, tmp_path / "vessels.png")
    seen = np.asarray(Image.open(tmp_path / "vessels.png").convert("RGB")).reshape(-1, 3).astype(int)
    assert set(case.vessels) == {"portal_vein", "hepatic_vein"}
    for name in case.vessels:
        colour = np.array(structures.find(name).colour)
        # A lit tube keeps the hue of its vessel: the angle between the two colours is small.
        bright = seen[seen.sum(axis=1) > 200]
        cosine = (bright @ colour) / (np.linalg.norm(bright, axis=1) * np.linalg.norm(colour))
        assert (cosine > 0.995).sum() > 1000, name


def rehearsal_of(path, title, *acts):
    Rehearsal(title, acts).write(path)
    return path


def test_the_field_of_a_case_knows_what_each_vessel_feeds(case):
    vessels, serving = carried_vessels(case, case.organ)
    assert {name: tree.outflow for name, tree in vessels.items()} == {
        "portal_vein": False,
        "hepatic_vein": True,
    }
    tree, ends = portal()
    end = tree.points[ends["posterior", True]]
    node = vessels["portal_vein"].nearest(end, case.organ.points)[0]
    closed = vessels["portal_vein"].with_clamp("c", [node])
    found = perfusion(case.organ, vessels | {"portal_vein": closed}, serving)
    assert found.ml(found.supplied) == pytest.approx(sum(case.organ.volumes_ml.values()))
    # The same territory as by voxels, on a mesh of 20 mm edges.
    (twig,) = clamp(case, [tuple(end)])
    assert found.describe()["ischaemic_percent"] == pytest.approx(100.0 * twig.share, abs=1.5)


def test_plans_are_compared_side_by_side(case, tmp_path):
    x, y, z = around(140.0, 30.0, LEVEL)
    selective = rehearsal_of(
        tmp_path / "a.json", "Selective", Clamp("right", "portal_vein", (x, y, z)), Hold(1.0)
    )
    total = rehearsal_of(tmp_path / "b.json", "Total", Clamp("all", pringle=True), Hold(1.0))
    files = tmp_path / "c.json", tmp_path / "c.html"
    run = CliRunner().invoke(
        app,
        [
            "compare",
            str(case.path),
            str(selective),
            str(total),
            "--json",
            str(files[0]),
            "--html",
            str(files[1]),
        ],
    )
    assert run.exit_code == 0, run.output
    plans = json.loads(files[0].read_text())["plans"]
    assert [plan["plan"] for plan in plans] == ["Selective", "Total"]
    half, none = (plan["measures"]["organs"]["liver"] for plan in plans)
    assert half["remnant_percent"] == none["remnant_percent"] == 100.0
    assert 0.2 < half["future_remnant_perfused_percent"] / 100.0 < 0.8
    assert none["future_remnant_perfused_ml"] == 0.0
    assert half["future_remnant_perfused_ml"] + plans[0]["measures"]["perfusion"][
        "ischaemic_ml"
    ] == pytest.approx(half["whole_ml"])
    # Only what differs is shown, the better in bold.
    text = files[1].read_text()
    assert f"<b>{half['future_remnant_perfused_ml']:,.0f}</b>" in text
    assert "liver, volume" not in text
    assert "without inflow" in run.output.replace("\n", " ")


def test_a_plan_that_cannot_be_carried_out_says_why_beside_the_others(case, tmp_path):
    good = rehearsal_of(tmp_path / "a.json", "Good", Clamp("all", pringle=True))
    bad = rehearsal_of(tmp_path / "b.json", "Bad", Clamp("c", point_mm=(400.0, 0.0, 0.0)))
    run = CliRunner().invoke(app, ["compare", str(case.path), str(good), str(bad), "--every"])
    assert run.exit_code == 1
    words = " ".join(run.output.split())
    assert "Bad was not carried out: action 1 (clamp): No vessel to clamp lies within 15 mm" in words
    assert "liver, volume" in words
    empty = rehearsal_of(tmp_path / "e.json", "Empty")
    run = CliRunner().invoke(app, ["compare", str(case.path), str(empty)])
    assert run.exit_code == 1
    assert "has no acts" in " ".join(run.output.split())


def test_the_command_tells_how_near_tumours_are(case, tmp_path):
    run = CliRunner().invoke(app, ["vessels", str(case.path), "--json", str(tmp_path / "v.json")])
    assert run.exit_code == 0, run.output
    # This liver has none, and no table of them.
    assert json.loads((tmp_path / "v.json").read_text())["tumours"] == {}
    assert "How near" not in run.output


def test_alternatives_of_one_file_are_plans(tmp_path):
    rehearsal = Rehearsal("Two ways", [Clamp("all", pringle=True)])
    rehearsal.log.branch("other")
    rehearsal.append(Hold(1.0))
    rehearsal.write(tmp_path / "r.json")
    plans = read_plans([tmp_path / "r.json"])
    assert [(plan.name, len(plan.rehearsal)) for plan in plans] == [
        ("Two ways: plan", 1),
        ("Two ways: other", 2),
    ]
