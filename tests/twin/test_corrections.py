"""Corrections kept in a case: the result can be made again, undone, and nothing else in the folder is lost."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from anatomy import AnatomyError, LabelMap, Scan
from anatomy.segmentation.correction import Brush, Seed, to_json
from twin.build import Choice, build_case
from twin.case import Case
from twin.corrections import CorrectionLog, correct_case, remake_labels
from twin.errors import TwinError


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("corrections")
    z, y, x = np.mgrid[:26, :26, :26]
    inside = (z - 13) ** 2 + (y - 13) ** 2 + (x - 13) ** 2 < 81
    scan = sitk.GetImageFromArray(np.where(inside, 60, -100).astype(np.int16))
    labels = sitk.GetImageFromArray((inside & (x < 17)).astype(np.uint8))
    for image in (scan, labels):
        image.SetSpacing((5.0, 5.0, 5.0))
    Scan(scan).write(folder / "ct.nrrd")
    LabelMap(labels, {1: "liver"}).write(folder / "labels.nrrd")
    choice = Choice(edge_mm=15.0, title="Anna")
    return build_case(folder / "ct.nrrd", folder / "case", labels=folder / "labels.nrrd", choice=choice)


@pytest.fixture
def case(built: Case, tmp_path: Path) -> Case:
    shutil.copytree(built.path, tmp_path / "case")
    return Case.open(tmp_path / "case")


SEED = Seed("liver", points_mm=((95.0, 65.0, 65.0),), reach_mm=40.0)
DAB = Brush("liver", path_mm=((65.0, 65.0, 65.0),), radius_mm=12.0, adds=False)


def test_a_corrected_case_can_be_made_again_from_its_record(case: Case) -> None:
    before = case.labels.array.copy()
    case = correct_case(correct_case(case, [SEED]), [DAB])
    case.check_files()
    assert np.array_equal(case.original_labels.array, before)
    assert CorrectionLog.of(case).standing() == [SEED, DAB]
    assert np.array_equal(remake_labels(case).array, case.labels.array)
    assert not np.array_equal(case.labels.array, before)
    assert case.title == "Anna"
    assert case.facts["edge_mm"] == 15.0
    # What follows from the labels was made anew: the mesh has the volume of the corrected organ.
    assert case.organ.volumes_ml["liver"] == pytest.approx(case.labels.volumes_ml["liver"], rel=0.05)


def test_undo_is_an_entry_and_takes_nothing_from_the_record(case: Case) -> None:
    once = correct_case(case, [SEED])
    after_seed = once.labels.array.copy()
    twice = correct_case(once, [DAB])
    undone = correct_case(twice, undo=1)
    assert np.array_equal(undone.labels.array, after_seed)
    log = CorrectionLog.of(undone)
    assert log.standing() == [SEED]
    assert [sorted(entry) for entry in log.entries] == [
        ["at", "correction"],
        ["at", "correction"],
        ["at", "undo"],
    ]
    with pytest.raises(TwinError, match="2 corrections cannot be withdrawn: 1 stand"):
        correct_case(undone, undo=2)
    none = correct_case(undone, undo=1)
    assert np.array_equal(none.labels.array, none.original_labels.array)


def test_what_fails_leaves_the_case_as_it_was(case: Case) -> None:
    sha, rows = case.sha256, case.facts
    everything = dataclasses.replace(DAB, radius_mm=100.0)
    with pytest.raises(AnatomyError, match="would remove all of 'liver'"):
        correct_case(case, [everything])
    with pytest.raises(TwinError, match="nothing to correct"):
        correct_case(case)
    again = Case.open(case.path)
    again.check_files()
    assert (again.sha256, again.facts) == (sha, rows)


def test_files_of_a_person_stay_in_the_folder(case: Case) -> None:
    (case.path / "notes").mkdir()
    (case.path / "notes" / "plan.txt").write_text("resect segment VI")
    corrected = correct_case(case, [SEED])
    assert (corrected.path / "notes" / "plan.txt").read_text() == "resect segment VI"
    assert "notes/plan.txt" not in corrected.facts["files"]
    corrected.check_files()


def test_a_record_that_was_tampered_with_is_found_out(case: Case) -> None:
    corrected = correct_case(case, [SEED])
    facts = json.loads((corrected.path / "case.json").read_text())
    facts["corrections"][0]["correction"]["reach_mm"] = 12.0
    (corrected.path / "case.json").write_text(json.dumps(facts))
    with pytest.raises(TwinError, match="not what its corrections make"):
        remake_labels(Case.open(corrected.path))
    facts["corrections"][0]["correction"]["kind"] = "sed"
    (corrected.path / "case.json").write_text(json.dumps(facts))
    with pytest.raises(TwinError, match=r"corrections of .* cannot be read"):
        CorrectionLog.of(Case.open(corrected.path))


def test_the_command_corrects_lists_and_undoes(case: Case, tmp_path: Path) -> None:
    from viewer.terminal import app

    run = CliRunner().invoke
    before = case.labels.volumes_ml["liver"]
    (tmp_path / "c.json").write_text(json.dumps(to_json([DAB])))
    done = run(
        app,
        ["correct", str(case.path), str(tmp_path / "c.json"), "--inside", "liver:95,65,65", "--reach", "40"],
    )
    assert done.exit_code == 0, done.output
    assert f"{before:.1f}" in done.output
    corrected = Case.open(case.path)
    assert CorrectionLog.of(corrected).standing() == [DAB, SEED]
    listed = run(app, ["correct", str(case.path), "--list"])
    assert listed.exit_code == 0
    assert "brush" in listed.output
    assert "seed" in listed.output
    assert run(app, ["correct", str(case.path), "--undo", "2"]).exit_code == 0
    assert Case.open(case.path).labels.volumes_ml["liver"] == pytest.approx(before)
    for arguments, words in (
        (["--inside", "liver:1,2"], "is no seed: write it as"),
        ([str(tmp_path / "none.json")], "cannot be read"),
        (["--inside", "liver:999,0,0"], "outside the scan"),
        ([], "nothing to correct"),
    ):
        refused = run(app, ["correct", str(case.path), *arguments])
        assert refused.exit_code == 1
        assert words in " ".join(refused.stderr.split())
