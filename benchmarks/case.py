"""From a full-size CT to a case: 512×512×200 voxels as a DICOM series, every stage timed, and the peak of memory.

The case is built in a process of its own, so that its memory is its own. The peer reads the same series without
looking at its geometry.
"""

from __future__ import annotations

import multiprocessing
import resource
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from anatomy import Scan
from anatomy.progress import Progress
from benchmarks import Row
from sample_scans import make_patient
from sample_scans.dicom import write_dicom
from twin.build import Choice, build_case

# The sample patient's scan is 260 mm long: 200 slices.
SEED, SIZE, SLICE_MM = 1, 512, 1.3
_STAGES = {
    "read": "reading",
    "label": "segmenting liver, tumours and vessels",
    "mesh": "meshing",
    "surfaces": "surfaces to show",
    "write": "writing and checking the files",
}


def run(progress: Progress) -> list[Row]:
    """Make the series once, read it beside the peer, build the case."""
    folder = Path(tempfile.mkdtemp(prefix="organtwin-"))
    try:
        progress("Making a full-size CT", 0.0)
        patient = make_patient(SEED, size=SIZE, slice_mm=SLICE_MM)
        size = "×".join(str(n) for n in patient.scan.GetSize())
        write_dicom(patient, folder / "series")
        del patient
        progress("Building its case", 0.5)
        rows = _read(folder / "series", size)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            rows += pool.submit(_built, folder, size).result()
        progress("Building its case", 1.0)
        return rows
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read(series: Path, size: str) -> list[Row]:
    began = time.perf_counter()
    scan = Scan.read(series)
    ours = time.perf_counter() - began
    began = time.perf_counter()
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
    plain = reader.Execute()
    theirs = time.perf_counter() - began
    apart = np.abs(sitk.GetArrayViewFromImage(plain) - scan.array).max()
    what = f"{size} DICOM series"
    return [
        Row("case", f"{what}: reading", ours, "s", "SimpleITK series reader, no checks", ours / theirs),
        Row("case", f"{what}: largest difference to the peer's voxels", float(apart), "HU"),
    ]


def _built(folder: Path, size: str) -> list[Row]:
    """Build the case; what `twin.build` keeps of its stages, and what is left for writing."""
    began, processor = time.perf_counter(), time.process_time()
    case = build_case(folder / "series", folder / "case", choice=Choice(title="benchmark"))
    total, processor = time.perf_counter() - began, time.process_time() - processor
    seconds = dict(case.facts["stages_s"])
    seconds["write"] = total - sum(seconds.values())
    what = f"{size} CT to case"
    rows = [Row("case", f"{what}: {_STAGES[key]}", value, "s") for key, value in seconds.items()]
    return [
        *rows,
        Row("case", f"{what}: all", total, "s"),
        Row("case", f"{what}: processor time of all threads", processor, "s"),
        Row("case", f"{what}: peak memory", _peak_gb(), "GB"),
    ]


def _peak_gb() -> float:
    """Largest resident memory of this process, GB; from Linux itself, whose `getrusage` counts the parent's too."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
