"""Reduced models of a small case: kept whole or not at all, found again, refused when the case has changed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from anatomy import LabelMap, Scan
from solver.body import Body
from solver.interactive import Interactive
from solver.reduced import ReducedTier
from twin.build import Choice, build_case
from twin.case import Case
from twin.errors import TwinError
from twin.reduction import FOLDER, Plan, reduce_case, remove, stored
from viewer.terminal import app

PLAN = Plan(places=2, radius_mm=14.0, reach_mm=8.0)


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> Case:
    """An ellipsoid of liver around a piece of vena cava, 3 mm voxels, coarse."""
    folder = tmp_path_factory.mktemp("reduction")
    z, y, x = np.indices((40, 40, 50))
    liver = ((x - 25) / 22) ** 2 + ((y - 20) / 15) ** 2 + ((z - 20) / 16) ** 2 < 1
    cava = liver & ((x - 20) ** 2 + (y - 30) ** 2 < 12)
    labels = sitk.GetImageFromArray(np.where(cava, 2, np.where(liver, 1, 0)).astype(np.uint8))
    scan = sitk.GetImageFromArray(np.where(liver, 60, -1000).astype(np.int16))
    for image in (labels, scan):
        image.SetSpacing((3.0, 3.0, 3.0))
        image.SetOrigin((-75.0, -60.0, 900.0))
    Scan(scan).write(folder / "scan.nrrd")
    LabelMap(labels, {1: "liver", 2: "inferior_vena_cava"}).write(folder / "labels.nrrd")
    choice = Choice(["liver", "inferior_vena_cava"], edge_mm=20.0)
    return build_case(folder / "scan.nrrd", folder / "case", labels=folder / "labels.nrrd", choice=choice)


@pytest.fixture(scope="module")
def live(case) -> Interactive:
    return Interactive(Body(case.organ))


@pytest.fixture(scope="module")
def reduced(case, live) -> list:
    return list(reduce_case(case, PLAN, live=live))


def test_models_of_a_case_are_found_again_and_work(case, live, reduced):
    assert [done.refusal for done in reduced] == ["", ""]
    models = stored(case, live.body)
    assert len(models) == 2
    # What reduced models add to the folder is no part of the case.
    Case.open(case.path).check_files()
    tier = ReducedTier(live, models)
    (point, *_), radius, reach = tier.places[0]
    tier.grasp("grasper", point, radius)
    normal = models[0].grip.normals[0]
    for k in range(1, 11):
        tier.move("grasper", point + 0.5 * reach * normal * k / 10)
        frame = tier.step()
    assert frame.tier == "reduced"
    assert frame.forces_N["grasper"] @ normal > 0
    tier.reset()


def test_the_example_of_the_documentation(case, reduced, tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs" / "reduced.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "anna").symlink_to(case.path)
    monkeypatch.chdir(tmp_path)
    found: dict = {}
    exec(compile(example, "docs/reduced.md", "exec"), found)
    frame = found["frame"]
    assert capsys.readouterr().out.startswith(f"{frame.tier} [")
    assert np.linalg.norm(frame.forces_N["grasper"]) > 0
    assert len(found["tier"].places) == 2


def test_a_second_run_keeps_what_is_there(case, live, reduced):
    again = list(reduce_case(case, PLAN, live=live))
    assert [done.kept for done in again] == [True, True]
    anew = list(reduce_case(case, replace(PLAN, places=1), again=True, live=live))
    assert [done.kept for done in anew] == [False]
    # The same seed gives the same model to the last bit.
    assert np.array_equal(anew[0].model.basis, reduced[0].model.basis)
    assert anew[0].model.accuracy == reduced[0].model.accuracy
    assert len(stored(case)) == 2


def test_a_stop_keeps_finished_places_and_leaves_no_half(case, live, reduced):
    plan = replace(PLAN, seed=5)

    def stop(stage, share):
        if stage.startswith("reducing place 2") and share > 0.3:
            raise KeyboardInterrupt

    running = reduce_case(case, plan, progress=stop, live=live)
    assert next(running).model is not None
    with pytest.raises(KeyboardInterrupt):
        next(running)
    assert len(stored(case)) == 3
    assert all(file.name.startswith("grip-") for file in (case.path / FOLDER).iterdir())
    kept = [done.kept for done in reduce_case(case, plan, live=live)]
    assert kept == [True, False]
    assert len(stored(case)) == 4


def test_a_changed_case_or_tissue_refuses_its_models(case, live, reduced):
    softer = {
        name: replace(tissue, density_kg_mm3=1.1 * tissue.density_kg_mm3)
        for name, tissue in live.body.tissues.items()
    }
    with pytest.raises(TwinError, match=r"other tissue constants or attachments; run `organtwin reduce"):
        stored(case, Body(case.organ, tissues=softer))
    changed = Case(case.path, {**case.facts, "files": {**case.facts["files"], "scan.nrrd": "0" * 64}})
    with pytest.raises(TwinError, match=r"before the case changed; run `organtwin reduce"):
        stored(changed)


def test_a_damaged_file_is_refused_by_name(case, reduced):
    file = next((case.path / FOLDER).glob("*.npz"))
    whole = file.read_bytes()
    try:
        for damaged in (b"", b"no archive", whole[: len(whole) // 2]):
            file.write_bytes(damaged)
            with pytest.raises(
                TwinError, match=rf"{file.name} cannot be read .* run `organtwin reduce` again"
            ):
                stored(case)
    finally:
        file.write_bytes(whole)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--at=1,2"], "'1,2' is no place"),
        (["--at=1,2,3", "--together"], "name two or more with --at"),
        (["--radius", "0.1"], "--radius is 0.1 mm"),
        (["--reach", "500"], "--reach is 500 mm"),
        (["--at=900,0,0"], "nothing there to grasp"),
    ],
)
def test_the_command_says_what_it_cannot_read(case, options, sentence):
    found = CliRunner().invoke(app, ["reduce", str(case.path), *options])
    assert found.exit_code == 1
    assert sentence in " ".join(found.output.split())


def test_the_command_shows_and_deletes_what_is_kept(case, reduced, tmp_path):
    options = ["--places", "2", "--radius", "14", "--reach", "8", "--json", str(tmp_path / "rows.json")]
    found = CliRunner().invoke(app, ["reduce", str(case.path), *options])
    assert found.exit_code == 0, found.output
    rows = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert [row["kept"] for row in rows] == [True, True]
    assert all(row["worst_error_percent"] < 5 for row in rows)
    assert remove(case) >= 2
    assert stored(case) == []
