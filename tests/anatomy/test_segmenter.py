"""Trained networks as segmenters: the real adapter runs against a package with TotalSegmentator's own interface."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from anatomy import AnatomyError, Scan
from anatomy.segmentation import segmenter
from anatomy.segmentation.deep.totalsegmentator import TotalSegmentator

# What the adapter meets in TotalSegmentator 2.10 to 2.18: the same modules, names, environment variables and files.
CONFIG = """
    import json, os
    from pathlib import Path

    def home():
        return Path(os.environ.get("TOTALSEG_HOME_DIR", Path.home() / ".totalsegmentator"))

    def get_weights_dir():
        return Path(os.environ.get("TOTALSEG_WEIGHTS_PATH", home() / "nnunet/results"))

    def get_config_key(name):
        file = home() / "config.json"
        return json.loads(file.read_text()).get(name) if file.exists() else None

    def has_valid_license_offline():
        number = get_config_key("license_number")
        if number is None:
            return "missing_license", "ERROR: A license number has not been set so far."
        return ("yes", "") if len(number) == 18 else ("invalid_license", f"ERROR: Invalid license number ({number}).")

    def setup_totalseg():
        file = home() / "config.json"
        home().mkdir(exist_ok=True, parents=True)
        if not file.exists():
            file.write_text(json.dumps({"send_usage_stats": True, "prediction_counter": 0}))

    def send_usage_stats():
        if get_config_key("send_usage_stats"):
            Path(os.environ["STAND_IN_NETWORK"], "statistics").write_text("sent")
"""
LIBS = """
    import os
    from pathlib import Path
    from totalsegmentator.config import get_weights_dir

    def download_url_and_unpack(url, folder):
        Path(os.environ["STAND_IN_NETWORK"], "weights").write_text(url)
        (folder / "Dataset297_total").mkdir(parents=True)

    def download_model_with_license_and_unpack(task, folder):
        download_url_and_unpack(task, folder)

    def download_pretrained_weights(task_id):
        if not (get_weights_dir() / "Dataset297_total").exists():
            download_url_and_unpack("weights.zip", get_weights_dir())
"""
MAPS = """
    class_map = {
        "total": {1: "spleen", 2: "liver", 3: "kidney_left"},
        "total_mr": {1: "spleen", 2: "liver"},
        "face": {1: "face"},
        "body": {1: "body_trunc"},
    }
    commercial_models = {"face": 303}
"""
API = """
    import sys
    import SimpleITK as sitk
    from totalsegmentator.config import send_usage_stats, setup_totalseg
    from totalsegmentator.libs import download_pretrained_weights
    from totalsegmentator.map_to_binary import class_map

    def totalsegmentator(input, output, ml=False, task="total", fast=False, roi_subset=None, device="gpu", quiet=False):
        setup_totalseg()
        download_pretrained_weights(297)
        scan = sitk.ReadImage(str(input))
        if scan.GetSize()[0] == 7:
            print("No body found.")
            sys.exit(1)
        values = sitk.GetArrayFromImage(scan)
        labels = (values > 0).astype("uint8") * 2
        labels[values > 500] = 1
        for value, name in class_map[task].items():
            if roi_subset and name not in roi_subset:
                labels[labels == value] = 0
        image = sitk.GetImageFromArray(labels)
        image.CopyInformation(scan)
        sitk.WriteImage(image, str(output))
        send_usage_stats()
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The stand-in on the path, a home without configuration, and a folder that shows what left the machine."""
    package = tmp_path / "site" / "totalsegmentator"
    package.mkdir(parents=True)
    for name, text in (("config", CONFIG), ("libs", LIBS), ("map_to_binary", MAPS), ("python_api", API)):
        (package / f"{name}.py").write_text(textwrap.dedent(text))
    (package / "__init__.py").touch()
    network = tmp_path / "network"
    network.mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("STAND_IN_NETWORK", str(network))
    monkeypatch.delenv("TOTALSEG_HOME_DIR", raising=False)
    monkeypatch.delenv("TOTALSEG_WEIGHTS_PATH", raising=False)
    monkeypatch.syspath_prepend(str(package.parent))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "totalsegmentator"]:
        del sys.modules[name]


def with_weights(folder: Path) -> None:
    (folder / "home/.totalsegmentator/nnunet/results/Dataset297_total").mkdir(parents=True)


def scan(size: int = 12) -> Scan:
    array = np.full((10, 11, size), -1000, dtype=np.int16)
    array[2:8, 2:9, 1 : size - 1] = 60
    array[4:6, 4:6, 3:5] = 900
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.5, 2.0, 3.0))
    # Stored from left to right and head to foot, as scans also come.
    image.SetDirection((-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0))
    return Scan(image)


def test_labels_come_back_on_the_scan_and_nothing_is_sent(library: Path) -> None:
    with_weights(library)
    model = segmenter.named("totalsegmentator")
    assert isinstance(model, segmenter.Segmenter)
    given = scan()
    stages: list[str] = []
    labels = model.segment(given, progress=lambda stage, fraction: stages.append(stage))
    labels.check_grid(given)
    assert labels.names == {1: "spleen", 2: "liver"}
    assert np.array_equal(labels.mask("liver"), (given.array > 0) & (given.array < 500))
    assert stages == ["TotalSegmentator, task total"] * 2
    assert list((library / "network").iterdir()) == []
    # The user's own configuration is neither made nor changed, and the environment is as before.
    assert not (library / "home/.totalsegmentator/config.json").exists()
    assert "TOTALSEG_HOME_DIR" not in os.environ


def test_the_stand_in_would_have_sent_statistics(library: Path) -> None:
    # What the test above holds can fail: called as it calls itself, the library sends.
    with_weights(library)
    from totalsegmentator.python_api import totalsegmentator

    scan().write(library / "scan.nii.gz")
    totalsegmentator(library / "scan.nii.gz", library / "out.nii.gz", ml=True)
    assert (library / "network/statistics").read_text() == "sent"


def test_weights_are_downloaded_only_when_allowed(library: Path) -> None:
    with pytest.raises(
        AnatomyError, match="nothing was downloaded; allow the download with --download-weights"
    ):
        TotalSegmentator().segment(scan())
    assert list((library / "network").iterdir()) == []
    labels = TotalSegmentator(download_weights=True).segment(scan(), ["liver"])
    assert labels.structures == ["liver"]
    assert [file.name for file in (library / "network").iterdir()] == ["weights"]
    # They lie where the library looks for them without us.
    assert (library / "home/.totalsegmentator/nnunet/results/Dataset297_total").is_dir()
    TotalSegmentator().segment(scan())


def test_a_library_whose_downloads_cannot_be_refused_is_not_run(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import totalsegmentator.libs

    monkeypatch.delattr(totalsegmentator.libs, "download_model_with_license_and_unpack")
    with pytest.raises(AnatomyError, match="not one we know"):
        TotalSegmentator().segment(scan())
    import totalsegmentator.config

    monkeypatch.setattr(totalsegmentator.config, "get_config_key", lambda name: True)
    with pytest.raises(AnatomyError, match="statistics cannot be switched off"):
        TotalSegmentator(download_weights=True).segment(scan())
    assert list((library / "network").iterdir()) == []


def test_licences_of_tasks_are_respected(library: Path) -> None:
    with_weights(library)
    model = segmenter.named("totalsegmentator:face")
    with pytest.raises(AnatomyError, match="A license number has not been set so far"):
        model.segment(scan())
    own = library / "home/.totalsegmentator/config.json"
    own.write_text(json.dumps({"license_number": "aca_12345", "send_usage_stats": True}))
    with pytest.raises(AnatomyError, match="Invalid license number"):
        model.segment(scan())
    own.write_text(json.dumps({"license_number": "aca_12345678901234", "send_usage_stats": True}))
    assert model.segment(scan()).structures == ["face"]
    assert list((library / "network").iterdir()) == []


def test_what_the_library_refuses_is_told_in_its_words(library: Path) -> None:
    with_weights(library)
    with pytest.raises(AnatomyError, match="stopped: No body found"):
        TotalSegmentator().segment(scan(size=7))
    with pytest.raises(AnatomyError, match="has no task 'totl'"):
        TotalSegmentator(task="totl").segment(scan())
    with pytest.raises(AnatomyError, match="knows no aorta; it knows kidney_left, liver, spleen"):
        TotalSegmentator().segment(scan(), ["aorta"])
    found = TotalSegmentator().segment(scan(), ["liver", "kidney_left"])
    assert found.structures == ["liver"]
    assert found.warnings == ["TotalSegmentator found no kidney_left"]


def test_without_the_extra_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(AnatomyError, match=r"pip install 'organtwin\[deep\]'"):
        segmenter.named("totalsegmentator")
    with pytest.raises(
        AnatomyError, match="there is no model 'nnunet'; choose from protocols, totalsegmentator"
    ):
        segmenter.named("nnunet")


def test_other_distributions_add_segmenters(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = metadata.EntryPoint("mine", "anatomy.segmentation.segmenter:Protocols", segmenter.GROUP)
    monkeypatch.setattr(metadata, "entry_points", lambda group: [entry] if group == segmenter.GROUP else [])
    assert isinstance(segmenter.named("mine"), segmenter.Protocols)


def test_a_case_is_built_with_a_model(library: Path) -> None:
    from twin.build import Choice, build_case

    with_weights(library)
    z, y, x = np.mgrid[:24, :24, :24]
    inside = (z - 12) ** 2 + (y - 12) ** 2 + (x - 12) ** 2 < 81
    image = sitk.GetImageFromArray(np.where(inside, 60, -1000).astype(np.int16))
    image.SetSpacing((5.0, 5.0, 5.0))
    Scan(image).write(library / "ct.nrrd")
    choice = Choice(structures=["liver"], edge_mm=15.0, model="totalsegmentator")
    case = build_case(library / "ct.nrrd", library / "case", choice=choice)
    assert case.facts["source"]["segmentation"].startswith("TotalSegmentator")
    assert np.array_equal(case.labels.mask("liver"), inside)
