"""The inspection of a case: what it measures is right, and its page carries everything inside."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from anatomy.labels import LabelMap
from anatomy.lattice.quality import all_dihedral_angles, radius_ratios
from twin.build import Choice, build_case
from twin.case import Case
from viewer.histogram import Histogram

STEP_MM = 4.0


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A liver of 50 mm radius with a vein that its tissue carries and a tumour."""
    folder = tmp_path_factory.mktemp("inspected")
    axis = (np.arange(32) - 16) * STEP_MM
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    labels = (x**2 + y**2 + z**2 < 50.0**2).astype(np.uint8)
    labels[(x - 20) ** 2 + y**2 + z**2 < 15.0**2] = 2
    labels[(np.abs(y) < 6) & (np.abs(z + 20) < 6) & (np.abs(x) < 30)] = 3
    files = {}
    for name, array in (("ct", np.where(labels, 100, -100).astype(np.int16)), ("labels", labels)):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing([STEP_MM] * 3)
        files[name] = folder / f"{name}.nrrd"
        if name == "labels":
            names = {1: "liver", 2: "liver_tumour", 3: "portal_vein"}
            LabelMap(image, names, confidence={"liver": 0.75}, warnings=["the dome is cut off"]).write(
                files[name]
            )
        else:
            sitk.WriteImage(image, str(files[name]))
    choice = Choice(edge_mm=12.0, title="Ball <with> a tumour")
    return build_case(files["ct"], folder / "case", labels=files["labels"], choice=choice)


def organtwin(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "viewer.terminal", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_text_json_and_page_of_a_case(case: Case, tmp_path: Path) -> None:
    page, rows = tmp_path / "page.html", tmp_path / "found.json"
    done = organtwin("inspect", case.path, "--page", page, "--json", rows)
    assert done.returncode == 0, done.stderr
    for words in ("liver_tumour", "in liver", "dihedral angles"):
        assert words in done.stdout
    found = json.loads(rows.read_text())
    by_name = {entry["name"]: entry for entry in found["structures"]}
    voxels = case.labels.volumes_ml
    liver = by_name["liver"]
    assert liver["labels_ml"] == pytest.approx(voxels["liver"], abs=1e-3)
    # The vein is carried: the liver's mesh holds its tissue, too, and is compared with both.
    whole = voxels["liver"] + voxels["portal_vein"]
    assert liver["mesh_error_percent"] == pytest.approx(
        100 * (case.organ.volumes_ml["liver"] / whole - 1), abs=1e-2
    )
    assert abs(liver["mesh_error_percent"]) < 2
    assert by_name["portal_vein"]["carried_by"] == "liver"
    assert by_name["portal_vein"]["mesh_ml"] is None
    assert by_name["portal_vein"]["surface_ml"] == pytest.approx(voxels["portal_vein"], rel=1e-3)
    assert all(entry["surface_closed"] for entry in found["structures"])
    assert found["mesh"]["dihedral_deg"]["least"] >= 12
    assert found["mesh"]["dihedral_deg"]["largest"] <= 140
    text = page.read_text(encoding="utf-8")
    assert "Ball &lt;with&gt; a tumour" in text
    assert text.count("data:image/jpeg;base64,") == 1 + len(found["structures"])
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    assert case.sha256 in text


def test_a_page_with_another_ending_is_refused(case: Case, tmp_path: Path) -> None:
    done = organtwin("inspect", case.path, "--page", tmp_path / "page.pdf")
    assert done.returncode == 1
    assert "must end in .html" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_changed_case_is_not_inspected(case: Case, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(case.path, copy)
    (copy / "organ.vtu").write_bytes((copy / "organ.vtu").read_bytes() + b" ")
    done = organtwin("inspect", copy)
    assert done.returncode == 1
    assert "organ.vtu changed since the case was made" in done.stderr


def test_shapes_of_known_tetrahedra() -> None:
    regular = np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    corner = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    tets = np.array([[0, 2, 1, 3]])
    assert all_dihedral_angles(regular, tets) == pytest.approx(np.degrees(np.arccos(1 / 3)))
    assert radius_ratios(regular, tets) == pytest.approx(1.0)
    angles = np.sort(all_dihedral_angles(corner, np.array([[0, 1, 2, 3]]))[0])
    assert angles == pytest.approx([np.degrees(np.arccos(3**-0.5))] * 3 + [90.0] * 3)
    # Inscribed radius 1 / (3 + √3), circumscribed √3 / 2.
    assert radius_ratios(corner, np.array([[0, 1, 2, 3]])) == pytest.approx(3 / (3 + 3**0.5) / (3**0.5 / 2))


def test_a_histogram_counts_everything() -> None:
    chart = Histogram(
        "Angles", np.array([-5.0, 10, 10, 200]), 0.0, 180.0, (0, 90, 180), "°", "#123456", bins=18
    )
    shares = chart.shares()
    assert shares.sum() == pytest.approx(1.0)
    assert shares[0] == pytest.approx(0.25)
    assert shares[-1] == pytest.approx(0.25)
    assert chart.svg().count("<rect") == 3
