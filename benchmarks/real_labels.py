"""The label map of the real abdomen that benchmarks take organs from."""

from __future__ import annotations

from pathlib import Path

from anatomy.labels import LabelMap
from viewer.errors import ViewerError

FILE = Path(__file__).resolve().parents[2] / "shared" / "scans" / "abdomen_ct" / "labels_v2.nii.gz"


def real_labels(benchmark: str) -> LabelMap:
    """All labels of the abdomen.

    Raises
    ------
    ViewerError
        If the real scans are not there; the message names the benchmark.
    """
    if not FILE.is_file():
        raise ViewerError(
            f"The benchmark '{benchmark}' needs the real label maps in ../shared/scans/abdomen_ct."
        )
    return LabelMap.read(FILE)
