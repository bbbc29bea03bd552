"""The rules of the house: floors, lazy doors, style and types."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

BIN = REPOSITORY / ".venv" / "bin"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


def tool(name: str) -> str:
    """The tool beside the Python that runs the tests."""
    found = shutil.which(name, path=str(BIN)) or shutil.which(name)
    assert found, f"{name} is not installed; run `make test`, which installs it"
    return found


@pytest.mark.parametrize(
    "command", [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",), ("lint-imports",)], ids=" ".join
)
def test_style_types_and_floors(command: tuple[str, ...]) -> None:
    done = run(tool(command[0]), *command[1:])
    assert done.returncode == 0, done.stdout + done.stderr


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(*sys.modules)"
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        (
            "import anatomy, anatomy.mesh",
            {"dolfinx", "mpi4py", "petsc4py", "PySide6", "pyvista", "SimpleITK"},
        ),
        (
            "from anatomy import Scan, LabelMap, segment, mesh_labels, agreement",
            {"dolfinx", "mpi4py", "PySide6", "pyvista"},
        ),
        ("import solver", {"SimpleITK", "PySide6", "pyvista"}),
        ("from solver import Body, Equilibrium, Interactive, actions", {"SimpleITK", "PySide6", "pyvista"}),
        ("from twin import Case, Rehearsal", {"PySide6", "pyvista"}),
        ("import viewer.terminal", {"PySide6", "dolfinx", "pyvista", "SimpleITK"}),
    ],
)
def test_a_floor_does_not_load_what_it_does_not_speak(statement: str, absent: set[str]) -> None:
    assert not loaded_by(statement) & absent


def test_the_public_face_has_exactly_the_promised_nouns() -> None:
    import anatomy
    import solver
    import twin
    import viewer

    assert {*anatomy.__all__} == {
        "AnatomyError",
        "LabelMap",
        "OrganMesh",
        "Scan",
        "agreement",
        "mesh_labels",
        "segment",
    }
    assert {*solver.__all__} == {"Body", "Equilibrium", "Interactive", "SolverError", "actions"}
    assert {*twin.__all__} == {"Case", "Rehearsal", "TwinError"}
    assert {*viewer.__all__} == {"ViewerError", "picture", "show"}
    for package in (anatomy, solver, twin, viewer):
        for name in package.__all__:
            assert getattr(package, name) is not None


def test_no_tracked_file_names_a_registry_or_a_machine_path() -> None:
    listed = run("git", "ls-files")
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    hosts = [
        "pypi" + ".org",
        "python" + "hosted",
        "deb." + "debian.org",
        "npm" + "js.org",
        "/root" + "/",
        "/work" + "/",
    ]
    guilty = []
    for name in listed.stdout.split():
        path = REPOSITORY / name
        if path.suffix in {".png", ".jpg", ".mp4"} or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        guilty += [f"{name}: {host}" for host in hosts if host in text]
    assert not guilty
