"""The README's Python example runs as it stands and says what it promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from anatomy.labels import LabelMap

REPOSITORY = Path(__file__).resolve().parent.parent


def test_the_ten_lines_of_python(tmp_path: Path) -> None:
    (example,) = re.findall(
        r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    axis = (np.arange(48) - 23.5) * 4.0
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    inside = (x / 80) ** 2 + (y / 60) ** 2 + (z / 60) ** 2 < 1
    images = (
        sitk.GetImageFromArray(np.where(inside, 110, -100).astype(np.int16)),
        sitk.GetImageFromArray(inside.astype(np.uint8)),
    )
    for image in images:
        image.SetSpacing([4.0] * 3)
    sitk.WriteImage(images[0], str(tmp_path / "scan.nii.gz"))
    LabelMap(images[1], {1: "liver"}).write(tmp_path / "labels.nrrd")
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    force, distance = map(float, re.findall(r"[\d.]+(?= N| mm)", done.stdout))
    assert 0.1 < force < 50.0
    assert distance < 0.02
