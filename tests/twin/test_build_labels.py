"""Label maps from other tools on their way into a case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.scan import Scan
from tests.anatomy.conftest import _write_series
from tests.anatomy.structure_sets import FRAME, Region, write_structure_set
from tests.anatomy.test_rtstruct import ball, ball_contours, grid
from twin.build import Choice, LabelChoice, build_case
from twin.case import Case
from viewer.terminal import app


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scan") / "series"
    scan = grid()
    x, y, z = scan.GetOrigin()
    voxels = np.where(ball(scan, 22.0), 60, -80)
    _write_series(folder, voxels, scan.GetSpacing(), (x, y, z), FrameOfReferenceUID=FRAME)
    return folder


@pytest.fixture(scope="module")
def contours(series: Path) -> Path:
    regions = [Region("Leber", ball_contours(grid(), 22.0), code=("10200004", "SCT"))]
    regions += [Region("Tumour", ball_contours(grid(), 8.0)), Region("BODY", ball_contours(grid(), 28.0))]
    return write_structure_set(series.parent / "rs.dcm", regions)


def test_contours_become_a_case(tmp_path: Path, series: Path, contours: Path) -> None:
    out = tmp_path / "case"
    command = ["build", str(series), "--labels", str(contours), "-o", str(out), "--edge", "7"]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 1
    assert "overlap" in refused.output
    assert "--label-priority" in refused.output
    done = CliRunner().invoke(app, [*command, "--label-priority", "liver_tumour,liver"])
    assert done.exit_code == 0, done.output
    case = Case.open(out)
    assert sorted(case.labels.names.values()) == ["liver", "liver_tumour"]
    assert case.labels.volumes_ml["liver_tumour"] == pytest.approx(4 / 3 * np.pi * 8.0**3 / 1000, rel=0.01)
    assert case.labels.volumes_ml["liver"] == pytest.approx(
        4 / 3 * np.pi * (22.0**3 - 8.0**3) / 1000, rel=0.01
    )


def test_a_segmentation_of_another_scan_is_refused(tmp_path: Path, series: Path) -> None:
    image = sitk.GetImageFromArray(ball(grid(), 22.0).astype(np.uint8))
    image.CopyInformation(Scan.read(series).image)
    LabelMap(image, {1: "liver"}).write(tmp_path / "seg.dcm", series)
    other = tmp_path / "other"
    _write_series(
        other, np.zeros((40, 64, 70), int), (0.9, 1.0, 1.5), grid().GetOrigin(), FrameOfReferenceUID="1.9"
    )
    with pytest.raises(AnatomyError, match="another frame of reference"):
        build_case(other, tmp_path / "case", labels=tmp_path / "seg.dcm")
    assert not (tmp_path / "case").exists()
    forced = LabelChoice(any_frame=True)
    case = build_case(
        other, tmp_path / "case", labels=tmp_path / "seg.dcm", label_choice=forced, choice=Choice(edge_mm=8.0)
    )
    assert list(case.labels.names.values()) == ["liver"]


def test_names_by_class_table_and_grids_of_their_own(tmp_path: Path, series: Path) -> None:
    fine = sitk.GetImageFromArray(ball(grid(), 22.0).astype(np.uint8) * 5)
    fine.CopyInformation(Scan.read(series).image)
    coarse = sitk.Resample(
        fine, [40, 40, 40], sitk.Transform(), sitk.sitkNearestNeighbor, fine.GetOrigin(), [1.7] * 3
    )
    sitk.WriteImage(coarse, str(tmp_path / "labels.nii.gz"))
    runner, out = CliRunner(), tmp_path / "case"
    command = [
        "build",
        str(series),
        "--labels",
        str(tmp_path / "labels.nii.gz"),
        "-o",
        str(out),
        "--edge",
        "8",
    ]
    assert "--label-names" in runner.invoke(app, command).output
    command += ["--label-names", "totalsegmentator_v2"]
    assert "--label-resample" in runner.invoke(app, command).output
    assert not out.exists()
    done = runner.invoke(app, [*command, "--label-resample", "linear"])
    assert done.exit_code == 0, done.output
    assert "resampled to the scan's grid (linear vote of the labels)" in " ".join(done.output.split())
    volume = Case.open(out).labels.volumes_ml["liver"]
    assert volume == pytest.approx(4 / 3 * np.pi * 22.0**3 / 1000, rel=0.02)
