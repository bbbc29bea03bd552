"""One callback type for progress: the terminal, the window and the page each draw it in their own way."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as long work goes on."""

    def __call__(self, stage: str, fraction: float) -> None:
        """Say that `stage` (a short phrase a surgeon understands) is done to `fraction` (0 to 1)."""


def silent(stage: str, fraction: float) -> None:
    """Draw nothing: the default where nobody watches."""
