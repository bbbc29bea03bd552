import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    beside = Path(sys.executable).parent
    mpiexec = shutil.which("mpiexec", path=str(beside)) or shutil.which("mpiexec")
    if mpiexec is None:
        pytest.skip("there is no mpiexec beside this Python or on the path")
    out = tmp_path_factory.mktemp("shared") / "out.json"
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent), "OMP_NUM_THREADS": "1"}
    command = [mpiexec, "-n", "2", sys.executable, str(HERE / "shared_block.py"), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(out.read_text())


def test_two_processes_give_the_answer_of_one(shared):
    assert shared["processes"] == 2
    names = ("P2", "P2-P1", "P1-P1", "P1", "cells")
    assert set(shared["apart"]) == {
        f"{name} {linear}" for name in names for linear in ("direct", "iterative")
    }
    assert max(shared["apart"].values()) < 1e-8, shared["apart"]


def test_both_processes_refuse_with_the_same_sentence(shared):
    first, second = shared["said"]
    assert first == second
    assert "Nodal averaging runs on one process" in first[0]
    assert "No equilibrium beyond" in first[1]
    assert " mm" in first[1]
