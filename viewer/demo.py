"""The first command: the sample patient, from scan to case.

The scan is written as a true DICOM series and read back from it, so that the demonstration walks the path that a
patient's scan walks. A scan or a case that is there already, of the same seed and version, is used again.
"""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

from anatomy.progress import Progress
from twin.build import Choice, build_case
from twin.case import Case
from twin.errors import TwinError
from twin.folder import folder_or_nothing


def run_demo(out: Path, seed: int, progress: Progress) -> Case:
    """Make the sample patient's scan and case under `out`.

    Parameters
    ----------
    out : Path
        Folder that gets `scan/` (DICOM) and `case/`.
    seed : int
        Which synthetic patient.
    progress : Progress
        Who watches.

    Raises
    ------
    TwinError
        If `out` holds something else, or cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise TwinError(f"{out} is a file; choose a folder with -o.")
    made = {"seed": seed, "organtwin": metadata.version("organtwin")}
    series = _scan(out / "scan", made, progress)
    return _made_before(out / "case", _title(seed)) or build_case(
        series, out / "case", choice=Choice(title=_title(seed), replace=True), progress=progress
    )


def _made_before(path: Path, title: str) -> Case | None:
    """The case of that title, or None where it is missing, another, or damaged and so to be built anew."""
    try:
        case = Case.open(path)
    except TwinError:
        return None
    return case if case.title == title else None


def _title(seed: int) -> str:
    return f"Sample patient {seed} (synthetic)"


def _scan(folder: Path, made: dict[str, object], progress: Progress) -> Path:
    """The DICOM series of the seed, written unless it is there."""
    series, stamp = folder / "series", folder / "made.json"
    if stamp.is_file() and json.loads(stamp.read_text(encoding="utf-8")) == made:
        return series
    if folder.exists() and not stamp.is_file():
        raise TwinError(f"{folder} exists and is not a sample scan; choose another folder with -o.")
    from sample_scans import make_patient, write_dicom

    words = "Making the sample CT"
    patient = make_patient(int(str(made["seed"])), progress=lambda _stage, done: progress(words, done))
    with folder_or_nothing(folder) as partial:
        write_dicom(patient, partial / "series")
        patient.labels.write(partial / "truth.nrrd")
        (partial / "made.json").write_text(json.dumps(made) + "\n", encoding="utf-8")
    return series
