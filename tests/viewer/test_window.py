from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anatomy.labels import LabelMap
from anatomy.scan import Scan
from anatomy.surfaces import Surface
from twin.case import Case
from twin.rehearsal import Rehearsal
from viewer import desktop
from viewer.errors import ViewerError

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """A screen of our own."""
    if not sys.platform.startswith("linux") or shutil.which("Xvfb") is None:
        pytest.skip("needs Xvfb to open windows without a screen: apt-get install xvfb")
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x800x24", "-nolisten", "tcp"]
    server = subprocess.Popen(
        command, pass_fds=(writing,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(writing)
    with os.fdopen(reading) as answer:
        number = answer.readline().strip()
    if not number:
        server.wait(10)
        pytest.skip("Xvfb did not start here")
    yield f":{number}"
    server.terminate()
    server.wait(10)


@pytest.fixture(scope="module")
def case_folder(small_case: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("window") / "case"
    surfaces = {name: Surface(s.points, s.triangles) for name, s in small_case.surfaces.items()}
    labels = LabelMap(small_case.labels.image, small_case.labels.names)
    scan = Scan(small_case.scan.image)
    Case.create(
        path, scan=scan, labels=labels, organ=small_case.organ, surfaces=surfaces, title="Ellipsoidal liver"
    )
    return path


@pytest.fixture(scope="module")
def session(display: str, case_folder: Path) -> tuple[dict[str, Any], Path]:
    """One session in the window, driven by mouse events, in a process of its own."""
    pytest.importorskip("PySide6", reason="needs the desktop extra: pip install 'organtwin[desktop]'")
    pytest.importorskip("pyvistaqt", reason="needs the desktop extra: pip install 'organtwin[desktop]'")
    environment = {k: v for k, v in os.environ.items() if k not in ("WAYLAND_DISPLAY", "QT_QPA_PLATFORM")}
    environment["DISPLAY"] = display
    command = [sys.executable, str(HERE / "drive_window.py"), str(case_folder), str(case_folder.parent)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    if "Qt cannot open windows here" in run.stderr:
        pytest.skip(run.stderr.strip().splitlines()[-1])
    assert run.returncode == 0, run.stderr[-4000:]
    return json.loads(run.stdout.splitlines()[-1]), case_folder.parent


@pytest.mark.window
def test_a_drag_over_tissue_pulls_and_shows_the_force(session: tuple[dict[str, Any], Path]) -> None:
    said, _ = session
    assert said["title"].startswith("Ellipsoidal liver")
    assert said["ready"]
    assert said["failure"] == ""
    pull = said["pull"]
    assert pull["holds"]
    assert pull["pulled"]
    assert 0.2 < pull["force"] < 50.0
    assert pull["moved"] > 5.0
    assert pull["still holds"]
    assert pull["outlines"] > 20  # where the tissue is now, over the scan


@pytest.mark.window
def test_release_lets_the_tissue_return(session: tuple[dict[str, Any], Path]) -> None:
    assert session[0]["returned"]


@pytest.mark.window
def test_the_right_button_turns_the_camera(session: tuple[dict[str, Any], Path]) -> None:
    assert session[0]["camera"] > 20.0


@pytest.mark.window
def test_the_screenshot_shows_tissue_scan_and_numbers(session: tuple[dict[str, Any], Path]) -> None:
    pixels = np.asarray(Image.open(session[1] / "window.png").convert("RGB")).astype(int)
    assert pixels.shape == (700, 1100, 3)
    middle, scan, strip = pixels[60:600, 300:740], pixels[90:600, 780:1090], pixels[630:, :500]
    assert (middle[..., 0] - middle[..., 2] > 30).mean() > 0.1  # tissue is red
    grey = (np.ptp(scan, axis=2) < 6) & (scan.mean(axis=2) > 60)
    assert grey.mean() > 0.1
    assert (strip.sum(axis=2) > 450).sum() > 200


@pytest.mark.window
def test_slices_are_painted_where_the_mouse_finds_them(session: tuple[dict[str, Any], Path]) -> None:
    """Around the labels and whole: liver (grey 166) inside its edges, fat (grey 38) outside; clicks land there."""
    for seen in (session[0]["slices"][:5], session[0]["slices"][5:]):
        inside, outside, miss_mm = [seen[0], seen[2]], [seen[1], seen[3]], seen[4]
        assert min(inside) > 120
        assert max(outside) < 90
        assert miss_mm <= 2.0  # a voxel


@pytest.mark.window
def test_what_was_done_is_saved_as_a_rehearsal(session: tuple[dict[str, Any], Path]) -> None:
    acts = [act.act for act in Rehearsal.read(session[1] / "log.json")]
    assert acts[0] == "grasp"
    assert "pull" in acts
    assert acts[-1] == "release"


@pytest.mark.window
def test_a_stroke_cuts_and_undo_makes_it_whole(session: tuple[dict[str, Any], Path]) -> None:
    cut = session[0]["cut"]
    assert cut["asked"]
    assert not cut["asked afterwards"]
    assert cut["cut"]
    assert cut["faces"]["liver"] > 10
    assert "'scalpel' has laid open" in cut["findings"]
    assert cut["undone"]
    assert cut["redone"]


@pytest.mark.window
def test_a_dead_solver_is_replaced_and_none_is_left(session: tuple[dict[str, Any], Path]) -> None:
    killed = session[0]["killed"]
    assert killed["back"]
    assert killed["failure"] == ""
    assert session[0]["solver gone"]


def test_without_a_display_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(desktop.sys, "platform", "linux")
    with pytest.raises(ViewerError, match="There is no display"):
        desktop.show(None)
    monkeypatch.setenv("DISPLAY", ":64321")
    with pytest.raises(ViewerError, match="does not answer"):
        desktop.show(None)


def test_without_qt_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desktop.util, "find_spec", lambda name: None)
    with pytest.raises(ViewerError, match=r'pip install "organtwin\[desktop\]"'):
        desktop.show(None)
