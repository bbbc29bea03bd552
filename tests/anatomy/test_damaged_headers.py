"""Property: whatever bytes of a header are damaged, the answer is a scan or one clear sentence, and never a crash."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anatomy.errors import AnatomyError
from anatomy.scan import Scan
from tests.anatomy.dicom_files import upright, write_enhanced, write_slices

Damage = list[tuple[int, int]]
DAMAGE = st.lists(st.tuples(st.integers(0, 2999), st.integers(0, 255)), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Path]:
    """Files to damage, and what is then read."""
    folder = tmp_path_factory.mktemp("whole")
    voxels = np.random.default_rng(6).integers(0, 2000, (4, 16, 24)).astype("u2")
    slices = write_slices(folder / "slices", voxels, upright(4))
    enhanced = write_enhanced(folder / "one.dcm", voxels, [{"position": place} for place in upright(4)])
    scan = Scan.read(enhanced)
    scan.write(folder / "a.nii")
    scan.write(folder / "a.nrrd")
    return {
        slices[1]: folder / "slices",
        **{file: file for file in (enhanced, folder / "a.nii", folder / "a.nrrd")},
    }


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.integers(0, 3), damage=DAMAGE, cut=st.one_of(st.none(), st.floats(0.05, 0.95)))
def test_damage_is_answered(whole: dict[Path, Path], which: int, damage: Damage, cut: float | None) -> None:
    file, place = list(whole.items())[which]
    content = file.read_bytes()
    # The header: of NIfTI 352 bytes, of NRRD some 400, of these DICOM files up to 3000.
    end = {".nii": 352, ".nrrd": 400}.get(file.suffix, 3000)
    broken = bytearray(content)
    for at, value in damage:
        broken[at % min(end, len(broken))] = value
    try:
        file.write_bytes(broken[: int(cut * len(broken))] if cut else broken)
        with contextlib.suppress(AnatomyError):
            assert Scan.read(place).array.size > 0
    finally:
        file.write_bytes(content)
