"""What every test shares: where the real scans are, and a small organ whose numbers are known."""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_scans() -> Path:
    folder = REPOSITORY.parent / "shared" / "scans"
    if not folder.is_dir():
        pytest.skip("needs the real scans in ../shared/scans, which are not part of the project")
    return folder
