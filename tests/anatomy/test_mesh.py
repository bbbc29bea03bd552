"""OrganMesh: what it refuses, what it derives, and that a file gives back every bit of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from anatomy.errors import AnatomyError
from anatomy.mesh import OrganMesh

POINTS = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
TETS = np.array([[0, 1, 2, 3], [1, 2, 3, 4]])


@pytest.fixture
def two_tets() -> OrganMesh:
    report = {"tets": 2, "labels": {"liver": {"error_percent": 0.25}}, "note": None}
    return OrganMesh(POINTS, TETS, np.array([1, 7], np.uint8), {1: "liver", 7: "tumeur à gauche"}, report)


def test_volumes_and_facets(two_tets: OrganMesh) -> None:
    assert two_tets.volumes_ml == pytest.approx({"liver": 1 / 6000, "tumeur à gauche": 1 / 3000})
    assert len(two_tets.exterior) == 6
    assert two_tets.exterior_tets.tolist() == [0, 0, 0, 1, 1, 1]
    assert two_tets.interface("liver", "tumeur à gauche").tolist() == [[1, 2, 3]]
    p, q, r = (POINTS[two_tets.exterior[:, i]] for i in range(3))
    assert np.einsum("ij,ij->i", p, np.cross(q, r)).sum() / 6 == pytest.approx(0.5)


def test_a_file_gives_everything_back(two_tets: OrganMesh, tmp_path: Path) -> None:
    two_tets.write(tmp_path / "organ.vtu")
    back = OrganMesh.read(tmp_path / "organ.vtu")
    np.testing.assert_array_equal(back.points, two_tets.points)
    np.testing.assert_array_equal(back.tets, two_tets.tets)
    np.testing.assert_array_equal(back.region, two_tets.region)
    assert back.structures == two_tets.structures
    assert json.dumps(back.report) == json.dumps(two_tets.report)
    back.write(tmp_path / "again.vtu")
    assert (tmp_path / "again.vtu").read_bytes() == (tmp_path / "organ.vtu").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.vtu", "organ.vtu"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tets": TETS[:, [1, 0, 2, 3]]}, "flat or inverted"),
        ({"tets": TETS + 1}, "names a vertex outside"),
        ({"region": np.array([1, 9], np.uint8)}, "no structure name"),
        ({"region": np.array([1], np.uint8)}, "one each"),
        ({"points": POINTS * np.nan}, "not finite"),
    ],
)
def test_a_wrong_mesh_is_refused(two_tets: OrganMesh, change: dict, message: str) -> None:
    parts = {name: getattr(two_tets, name) for name in ("points", "tets", "region", "structures")}
    with pytest.raises(AnatomyError, match=message):
        OrganMesh(**{**parts, **change})


def test_bad_files_are_one_sentence(
    two_tets: OrganMesh, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    two_tets.write(tmp_path / "organ.vtu")
    whole = (tmp_path / "organ.vtu").read_bytes()
    (tmp_path / "half.vtu").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "words.vtu").write_bytes(b"not a mesh")
    (tmp_path / "nameless.vtu").write_bytes(whole.replace(b'"structures"', b'"structural"'))
    for name, message in [
        ("half.vtu", "damaged"),
        ("words.vtu", "damaged"),
        ("nameless.vtu", "'structures'"),
        ("missing.vtu", "no mesh file"),
        ("organ.stl", "must end in .vtu"),
    ]:
        with pytest.raises(AnatomyError, match=message):
            OrganMesh.read(tmp_path / name)
    with pytest.raises(AnatomyError, match="there is no folder"):
        two_tets.write(tmp_path / "nowhere" / "organ.vtu")
    assert capfd.readouterr().err == ""


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    script = f"""
import resource, signal
import numpy as np
from anatomy.mesh import OrganMesh
from anatomy.errors import AnatomyError
points = np.r_[np.eye(4, 3), np.random.default_rng(0).random((4000, 3))]
mesh = OrganMesh(points, np.array([[0, 2, 1, 3]]), np.array([1], np.uint8), {{1: "liver"}})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    mesh.write({str(tmp_path / "organ.vtu")!r})
except AnatomyError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "disk is full" in run.stdout
    assert list(tmp_path.iterdir()) == []
