"""TotalSegmentator (Wasserthal et al. 2023, Radiol Artif Intell 5:e230024) as a segmenter.

What it does on its own, and what is made of it here. It sends usage statistics unless its configuration says no: it
runs with a configuration of ours, in a folder that lives as long as the call, which says no, and whose word is checked
before any scan is handed over. It downloads weights that it misses: its downloads are refused unless the user allowed
them, and where it has no known place to refuse them, nothing is run. Some of its tasks need a licence number, which is
the user's own matter with its makers: it is read from the user's configuration, and where it is missing the task is
refused in its makers' words. The user's configuration is never written to.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from anatomy import structures as vocabulary
from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.progress import Progress, silent
from anatomy.scan import Scan

_INSTALL = "TotalSegmentator is not installed; install it with pip install 'organtwin[deep]' (several GB)."
_DOWNLOADERS = ("download_url_and_unpack", "download_model_with_license_and_unpack")
_REFUSAL = (
    "TotalSegmentator's weights for this task are not on this machine, and nothing was downloaded; allow the download "
    "with --download-weights."
)


class _DownloadRefusedError(Exception):
    """Raised in place of a download that the user did not allow."""


class TotalSegmentator:
    """TotalSegmentator behind the `Segmenter` protocol.

    Parameters
    ----------
    download_weights : bool
        Whether weights that are missing may be downloaded.
    task : str, optional
        One of its tasks; `total` for CT and `total_mr` for MR if None.
    device : str
        "gpu" (it falls back to the processor by itself), "cpu" or "gpu:1".
    fast : bool
        Whether to use the 3 mm model, for machines without a graphics card.
    """

    def __init__(
        self, download_weights: bool = False, task: str | None = None, device: str = "gpu", fast: bool = False
    ) -> None:
        self.download_weights = download_weights
        self.task = task
        self.device = device
        self.fast = fast

    @property
    def name(self) -> str:
        """TotalSegmentator with its version and, if one was chosen, its task."""
        try:
            version = metadata.version("TotalSegmentator")
        except metadata.PackageNotFoundError:
            version = "of unknown version"
        return f"TotalSegmentator {version}" + (f", task {self.task}" if self.task else "")

    def available(self) -> str | None:
        """Why it cannot be used here, or None; nothing is imported."""
        return _INSTALL if importlib.util.find_spec("totalsegmentator") is None else None

    def segment(
        self, scan: Scan, structures: Sequence[str] | None = None, progress: Progress = silent
    ) -> LabelMap:
        """Label a scan with it.

        Parameters
        ----------
        scan : Scan
            CT or MR.
        structures : sequence of str, optional
            Names of the vocabulary, of the task's classes; all of them if None.
        progress : Progress
            Told when it starts and ends (it does not say how far it is).

        Raises
        ------
        AnatomyError
            If it is not installed, weights are missing and may not be downloaded, the task needs a licence, does
            not know a structure, or fails.
        """
        reason = self.available()
        if reason is not None:
            raise AnatomyError(reason)
        task = self.task or ("total_mr" if scan.modality == "MR" else "total")
        progress(f"TotalSegmentator, task {task}", 0.0)
        with tempfile.TemporaryDirectory(prefix="organtwin-") as folder, _quiet_home(Path(folder)):
            classes = _classes(task)
            wanted = _wanted(structures, classes, task)
            _check_silence()
            _check_licence(task)
            with _downloads(self.download_weights):
                image = self._run(scan, task, wanted, classes, Path(folder))
        progress(f"TotalSegmentator, task {task}", 1.0)
        names = {value: name for value, name in classes.items() if wanted is None or name in wanted}
        labels = LabelMap(image, names).matched_to(scan)
        missing = sorted(set(labels.empty.values())) if wanted else []
        warnings = [f"TotalSegmentator found no {', '.join(missing)}"] if missing else []
        return LabelMap(labels.image, labels.names | labels.empty, warnings=warnings)

    def _run(
        self, scan: Scan, task: str, wanted: list[str] | None, classes: dict[int, str], folder: Path
    ) -> sitk.Image:
        """Its label image of the scan."""
        run = importlib.import_module("totalsegmentator.python_api").totalsegmentator
        scan.write(folder / "scan.nii.gz")
        subset = wanted if wanted and task.startswith("total") and len(wanted) < len(classes) else None
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said):
                run(
                    folder / "scan.nii.gz", folder / "labels.nii.gz", ml=True, task=task, fast=self.fast,
                    roi_subset=subset, device=self.device, quiet=True,
                )  # fmt: skip
        except _DownloadRefusedError as error:
            raise AnatomyError(_REFUSAL) from error
        except SystemExit as error:
            words = " ".join(said.getvalue().split()) or "it gave no reason"
            raise AnatomyError(f"TotalSegmentator stopped: {words}") from error
        except Exception as error:
            raise AnatomyError(f"TotalSegmentator failed on this scan: {error}") from error
        if not (folder / "labels.nii.gz").is_file():
            raise AnatomyError("TotalSegmentator wrote no labels: is its version 2.10 or later?")
        return sitk.ReadImage(str(folder / "labels.nii.gz"))


@contextlib.contextmanager
def _quiet_home(folder: Path) -> Iterator[None]:
    """Its configuration in a folder of ours: no statistics, the user's licence number and weights."""
    home = Path(os.environ.get("TOTALSEG_HOME_DIR", Path.home() / ".totalsegmentator"))
    weights = os.environ.get("TOTALSEG_WEIGHTS_PATH", str(home / "nnunet" / "results"))
    config: dict[str, Any] = {
        "totalseg_id": "totalseg_organtwin",
        "send_usage_stats": False,
        "statistics_disclaimer_shown": True,
        "prediction_counter": 0,
    }
    licence = _licence(home)
    if licence:
        config["license_number"] = licence
    ours = folder / "totalsegmentator"
    ours.mkdir()
    (ours / "config.json").write_text(json.dumps(config), encoding="utf-8")
    before = {name: os.environ.get(name) for name in ("TOTALSEG_HOME_DIR", "TOTALSEG_WEIGHTS_PATH")}
    os.environ.update(TOTALSEG_HOME_DIR=str(ours), TOTALSEG_WEIGHTS_PATH=weights)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _licence(home: Path) -> str | None:
    try:
        found = json.loads((home / "config.json").read_text(encoding="utf-8")).get("license_number")
    except (OSError, ValueError, AttributeError):
        return None
    return str(found) if found else None


def _part(module: str, name: str) -> Any:
    """Something of the library that all known versions have."""
    try:
        return getattr(importlib.import_module(f"totalsegmentator.{module}"), name)
    except (ImportError, AttributeError) as error:
        raise AnatomyError(
            f"this TotalSegmentator is not one we know (totalsegmentator.{module} has no {name}: {error}); install "
            "version 2.10 or later"
        ) from error


def _classes(task: str) -> dict[int, str]:
    """Label value and name of each class of a task."""
    maps = _part("map_to_binary", "class_map")
    if task not in maps:
        raise AnatomyError(f"TotalSegmentator has no task '{task}'; it has {', '.join(sorted(maps))}")
    return {int(value): str(name) for value, name in maps[task].items()}


def _wanted(structures: Sequence[str] | None, classes: dict[int, str], task: str) -> list[str] | None:
    """The task's own names of the structures that are wanted."""
    if structures is None:
        return None
    own = {vocabulary.canonical(name): name for name in classes.values()}
    missing = [name for name in structures if vocabulary.canonical(name) not in own]
    if missing:
        raise AnatomyError(
            f"TotalSegmentator's task {task} knows no {', '.join(missing)}; it knows {', '.join(sorted(own)[:12])} …"
        )
    return list(dict.fromkeys(own[vocabulary.canonical(name)] for name in structures))


def _check_silence() -> None:
    """Refuse to run where the library would not obey our configuration."""
    if _part("config", "get_config_key")("send_usage_stats") is not False:
        raise AnatomyError(
            "this TotalSegmentator does not take its configuration from TOTALSEG_HOME_DIR, so that its usage "
            "statistics cannot be switched off; install version 2.10 or later"
        )


def _check_licence(task: str) -> None:
    if task not in _part("map_to_binary", "commercial_models"):
        return
    status, words = _part("config", "has_valid_license_offline")()
    if status != "yes":
        raise AnatomyError(
            f"TotalSegmentator's task {task} needs a licence number of its makers ({words.removeprefix('ERROR: ')}) "
            "For non-commercial use they give one at https://backend.totalsegmentator.com/license-academic/; set it "
            "with totalseg_set_license."
        )


@contextlib.contextmanager
def _downloads(allowed: bool) -> Iterator[None]:
    """Let downloads happen, or refuse them where the library makes them."""
    if allowed:
        yield
        return
    library = importlib.import_module("totalsegmentator.libs")
    before = {name: _part("libs", name) for name in _DOWNLOADERS}

    def refuse(*_: Any, **__: Any) -> None:
        raise _DownloadRefusedError

    for name in _DOWNLOADERS:
        setattr(library, name, refuse)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(library, name, function)
