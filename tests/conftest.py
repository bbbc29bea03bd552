"""What every test shares: where the real scans are, and a small organ whose numbers are known."""

from __future__ import annotations

import locale
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_scans() -> Path:
    folder = REPOSITORY.parent / "shared" / "scans"
    if not folder.is_dir():
        pytest.skip("needs the real scans in ../shared/scans, which are not part of the project")
    return folder


@pytest.fixture(autouse=True)
def kept_locale() -> Iterator[None]:
    """GDCM's writer leaves the process in the locale C, in which later tests could not read what a command prints."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)
