"""A case keeps what was done to its scan, and shows it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from twin.build import Choice, build_case
from twin.case import Case

SHAPE, SPACING, ORIGIN = (24, 32, 32), (3.0, 3.0, 4.0), (-40.0, -50.0, 10.0)


@pytest.fixture
def broken(tmp_path: Path) -> tuple[Path, Path]:
    """A CT series of a ball whose ninth slice is missing, and the ball's label map on the whole grid."""
    z, y, x = np.meshgrid(*((np.arange(n) - n / 2) for n in SHAPE), indexing="ij")
    inside = (x * SPACING[0]) ** 2 + (y * SPACING[1]) ** 2 + (z * SPACING[2]) ** 2 < 30.0**2
    (tmp_path / "ct").mkdir()
    for index, plane in enumerate(np.where(inside, 100, -100).astype(np.int16)):
        if index == 8:
            continue
        image = sitk.GetImageFromArray(plane[None])
        image.SetSpacing(SPACING)
        place = (*ORIGIN[:2], ORIGIN[2] + index * SPACING[2])
        image.SetOrigin(place)
        for key, text in {
            "0008|0060": "CT",
            "0020|000e": "1.2.3.9",
            "0020|0032": "\\".join(str(v) for v in place),
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }.items():
            image.SetMetaData(key, text)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetImageIO("GDCMImageIO")
        writer.SetFileName(str(tmp_path / "ct" / f"{index:03d}.dcm"))
        writer.Execute(image)
    labels = sitk.GetImageFromArray(inside.astype(np.uint8))
    labels.SetSpacing(SPACING)
    labels.SetOrigin(ORIGIN)
    LabelMap(labels, {1: "liver"}).write(tmp_path / "labels.nrrd")
    return tmp_path / "ct", tmp_path / "labels.nrrd"


def test_a_repair_is_kept_in_the_case_and_shown(broken: tuple[Path, Path], tmp_path: Path) -> None:
    series, labels = broken
    with pytest.raises(AnatomyError, match=r"8 mm between 007\.dcm and 009\.dcm .*--repair resample"):
        build_case(series, tmp_path / "case", labels=labels)
    assert not (tmp_path / "case").exists()
    build_case(
        series, tmp_path / "case", labels=labels, choice=Choice(repair=["resample"], series="1", edge_mm=12.0)
    )
    case = Case.open(tmp_path / "case")
    (repair,) = case.facts["source"]["repairs"]
    assert case.facts["source"]["series"] == "1"
    assert repair["name"] == "resample"
    assert "1 of 24 slices interpolated" in repair["what"]
    assert any("1 of 24 slices interpolated" in warning for warning in case.facts["warnings"])
    assert str(case.scan.repairs[0]) == f"{repair['name']}: {repair['what']}"
    # Built again as the case says, it is the same scan.
    again = build_case(
        series,
        tmp_path / "again",
        labels=labels,
        choice=Choice(repair=[repair["name"]], series=case.facts["source"]["series"], edge_mm=12.0),
    )
    assert again.scan.source_sha256 == case.scan.source_sha256
    assert again.facts["files"]["scan.nrrd"] == case.facts["files"]["scan.nrrd"]
    assert np.array_equal(again.organ.points, case.organ.points)


def test_the_command_offers_and_does_the_repair(broken: tuple[Path, Path], tmp_path: Path) -> None:
    series, labels = broken
    command = [sys.executable, "-m", "viewer.terminal", "build", str(series), "-o", str(tmp_path / "case")]
    command += ["--labels", str(labels), "--edge", "12"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 1
    assert "--repair resample" in done.stderr
    done = subprocess.run([*command, "--repair", "deskew"], capture_output=True, text=True, encoding="utf-8")
    assert "deskew does not mend this" in " ".join(done.stderr.split())
    done = subprocess.run(
        [*command, "--repair", "resample"], capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert "1 of 24 slices interpolated" in " ".join(done.stdout.split())
    facts = json.loads((tmp_path / "case" / "case.json").read_text(encoding="utf-8"))
    assert facts["source"]["repairs"][0]["name"] == "resample"
