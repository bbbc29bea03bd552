"""The command says no in one clear sentence, with a non-zero exit, and leaves nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import typer

from anatomy.labels import LabelMap
from viewer.errors import ViewerError
from viewer.refusals import refusals

COMMAND = [sys.executable, "-m", "viewer.terminal"]


def organtwin(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        **options,  # type: ignore[call-overload]
    )


def ball(tmp_path: Path, size: int = 40, spacing: float = 4.0) -> tuple[Path, Path]:
    """A CT-like ball of 50 mm radius and its label map, as NIfTI and NRRD files."""
    axis = (np.arange(size) - size / 2) * spacing
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    inside = x**2 + y**2 + z**2 < 50.0**2
    image = sitk.GetImageFromArray(np.where(inside, 100, -100).astype(np.int16))
    labels = sitk.GetImageFromArray(inside.astype(np.uint8))
    for each in (image, labels):
        each.SetSpacing([spacing] * 3)
        each.SetOrigin([-80.0, -80.0, -80.0])
    scan = tmp_path / "ct.nii.gz"
    sitk.WriteImage(image, str(scan))
    LabelMap(labels, {1: "liver"}).write(tmp_path / "labels.nrrd")
    return scan, tmp_path / "labels.nrrd"


def refused(done: subprocess.CompletedProcess[str], *words: str, code: int = 1) -> None:
    """One sentence on standard error that says what, where and what to do; no traceback."""
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("organtwin:")]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], lines[0]


def nothing_left(folder: Path, *expected: str) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(expected)


def test_help_has_examples_for_every_command() -> None:
    for name in ("demo", "build", "correct", "vessels", "inspect", "rehearse", "replay", "verify", "bench"):
        done = organtwin(name, "--help", env={**os.environ, "COLUMNS": "200"})
        assert done.returncode == 0
        assert f"organtwin {name}" in done.stdout
        assert "Example" in done.stdout


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(organtwin("build", tmp_path / "empty", "-o", tmp_path / "case"), str(tmp_path / "empty"))
    nothing_left(tmp_path, "empty")


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    refused(organtwin("build", tmp_path / "nowhere", "-o", tmp_path / "case"), "nowhere")
    nothing_left(tmp_path)


def test_an_unknown_structure_gets_a_suggestion(tmp_path: Path) -> None:
    scan, labels = ball(tmp_path)
    done = organtwin("build", scan, "--labels", labels, "--structures", "livr", "-o", tmp_path / "case")
    refused(done, "livr", "liver")
    nothing_left(tmp_path, "ct.nii.gz", "labels.nrrd")


def test_a_structure_that_the_label_map_does_not_have(tmp_path: Path) -> None:
    scan, labels = ball(tmp_path)
    done = organtwin(
        "build", scan, "--labels", labels, "--structures", "liver,spleen", "-o", tmp_path / "case"
    )
    refused(done, "spleen")
    nothing_left(tmp_path, "ct.nii.gz", "labels.nrrd")


def test_an_empty_label(tmp_path: Path) -> None:
    scan, labels = ball(tmp_path)
    image = sitk.ReadImage(str(labels))
    LabelMap(image, {1: "liver", 2: "spleen"}).write(labels)
    done = organtwin(
        "build", scan, "--labels", labels, "--structures", "liver,spleen", "-o", tmp_path / "case"
    )
    refused(done, "spleen")
    nothing_left(tmp_path, "ct.nii.gz", "labels.nrrd")


def test_a_label_map_on_another_grid(tmp_path: Path) -> None:
    scan, labels = ball(tmp_path)
    image = sitk.ReadImage(str(labels))
    image.SetSpacing([3.0, 4.0, 4.0])
    LabelMap(image, {1: "liver"}).write(labels)
    refused(organtwin("build", scan, "--labels", labels, "-o", tmp_path / "case"), "grid")
    nothing_left(tmp_path, "ct.nii.gz", "labels.nrrd")


def test_a_truncated_file(tmp_path: Path) -> None:
    scan, labels = ball(tmp_path)
    scan.write_bytes(scan.read_bytes()[:700])
    refused(organtwin("build", scan, "--labels", labels, "-o", tmp_path / "case"), "ct.nii.gz")
    nothing_left(tmp_path, "ct.nii.gz", "labels.nrrd")


def test_a_truncated_dicom_file(tmp_path: Path, shared_scans: Path) -> None:
    series = shutil.copytree(shared_scans / "chest_ct" / "series", tmp_path / "series")
    victim = sorted(series.iterdir())[5]
    victim.chmod(0o644)
    victim.write_bytes(victim.read_bytes()[:3000])
    refused(organtwin("build", series, "-o", tmp_path / "case"), victim.name)
    nothing_left(tmp_path, "series")


def test_what_stands_there_is_kept(tmp_path: Path) -> None:
    scan, labels = ball(tmp_path)
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "thesis.txt").write_text("years of work")
    refused(organtwin("build", scan, "--labels", labels, "-o", tmp_path / "case"), "not a case")
    assert (tmp_path / "case" / "thesis.txt").read_text() == "years of work"


def test_a_demo_in_place_of_a_file_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    refused(organtwin("demo", "--headless", "-o", tmp_path / "notes.txt"), "is a file", "-o")
    nothing_left(tmp_path, "notes.txt")


def test_the_corrections_that_the_help_shows_are_read() -> None:
    from anatomy.segmentation.correction import from_json

    shown = organtwin("correct", "--help", env={**os.environ, "COLUMNS": "400"}).stdout
    kinds = [made.kind for made in from_json(shown[shown.index("[{") : shown.rindex("}]") + 2])]
    assert kinds == ["seed", "brush", "outlines"]


def test_no_case_no_script(tmp_path: Path) -> None:
    refused(organtwin("rehearse", tmp_path), "not a case")
    refused(organtwin("replay", tmp_path, tmp_path / "script.json", "-o", tmp_path / "out"), "not a case")
    nothing_left(tmp_path)


def test_brackets_in_a_sentence_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    @refusals
    def command() -> None:
        raise ViewerError("install it with pip install 'organtwin[deep]'")

    with pytest.raises(typer.Exit):
        command()
    assert "organtwin[deep]" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["verify", "bench"])
def test_an_unknown_problem_or_benchmark(command: str) -> None:
    refused(organtwin(command, "nonsense"), "nonsense")


def test_a_page_of_part_of_a_problem(tmp_path: Path) -> None:
    refused(organtwin("verify", "windkessel", "--docs", tmp_path / "page.md"), "--docs", "add --full")
    nothing_left(tmp_path)
    done = organtwin("verify", "windkessel", "--full", "--docs", tmp_path / "page.md")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| Windkessel: time constant (s) | 1.32 | 1.32 |" in (tmp_path / "page.md").read_text(
        encoding="utf-8"
    )


def test_a_full_disk(tmp_path: Path) -> None:
    """On a real file system of 60 kB, in a namespace of our own."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode != 0:
        pytest.skip("this machine allows no mount namespaces, so no small disk can be made")
    scan, labels = ball(tmp_path)
    disk = tmp_path / "disk"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=60k tmpfs "$1" && shift && "$@"; rc=$?; ls -A "$0"; exit $rc'
    call = [*COMMAND, "build", str(scan), "--labels", str(labels), "-o", str(disk / "case")]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, str(disk), str(disk), *call], capture_output=True, text=True
    )
    refused(done, "disk is full", str(disk))
    assert done.stdout.splitlines()[-1] != "case"
    assert "partial" not in done.stdout


def test_ctrl_c_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    scan, labels = ball(tmp_path, size=160, spacing=1.0)
    process = subprocess.Popen(
        [*COMMAND, "build", str(scan), "--labels", str(labels), "--edge", "3", "-o", str(tmp_path / "case")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not importing(process.pid) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()[1]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    refused(subprocess.CompletedProcess(process.args, process.returncode, out, err), "Stopped", code=130)
    nothing_left(tmp_path, "ct.nii.gz", "labels.nrrd")


def importing(pid: int) -> bool:
    """Whether the process is at work: SimpleITK's library is mapped, which is not needed to read the command line."""
    try:
        return "SimpleITK" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


def test_build_makes_a_case_that_opens_again(tmp_path: Path) -> None:
    from twin import Case, TwinError

    scan, labels = ball(tmp_path)
    done = organtwin(
        "build", scan, "--labels", labels, "-o", tmp_path / "case", "--edge", "15", "--title", "Ball"
    )
    assert done.returncode == 0, done.stderr
    case = Case.open(tmp_path / "case")
    case.check_files()
    assert case.title == "Ball"
    exact = 4 / 3 * np.pi * 5.0**3
    assert case.facts["structures"][0]["volume_ml"] == pytest.approx(exact, rel=0.01)
    assert case.organ.volumes_ml["liver"] == pytest.approx(exact, rel=0.02)
    assert set(case.facts["stages_s"]) == {"read", "label", "vessels", "mesh", "surfaces"}
    assert case.scan.array.shape == (40, 40, 40)
    assert case.labels.names == {1: "liver"}
    radius = np.linalg.norm(case.surfaces["liver"].points + 2.0, axis=1)
    assert radius.mean() == pytest.approx(50.0, abs=1.0)
    refused(organtwin("build", scan, "--labels", labels, "-o", tmp_path / "case"), "--replace")
    (tmp_path / "case" / "labels.nrrd").unlink()
    with pytest.raises(TwinError, match=r"labels\.nrrd"):
        Case.open(tmp_path / "case")
    facts = json.loads((tmp_path / "case" / "case.json").read_text())
    assert facts["source"] == {
        "scan": "ct.nii.gz",
        "series": None,
        "repairs": [],
        "labels": "labels.nrrd",
        "label_reading": {"names": None, "priority": [], "resample": None, "any_frame": False},
        "segmentation": None,
    }
