"""Progress in the terminal: one line a stage, with a bar while it runs and its time when it is done."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from viewer.interrupts import check


class TerminalProgress:
    """Draws `anatomy.progress.Progress` calls; use it as a context manager and call it.

    Parameters
    ----------
    console : rich.console.Console
        Where to draw. Without a terminal only the finished stages are printed, a line each.
    """

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            SpinnerColumn(finished_text="[green]✓[/green]"),
            TextColumn("{task.description}", justify="left", markup=False),
            BarColumn(bar_width=28),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, stage: str, fraction: float) -> None:
        """Draw `stage` as done to `fraction`; Ctrl-C that a library swallowed ends the work here."""
        check()
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=1.0)
        self._bars.update(self._tasks[stage], completed=fraction)  # type: ignore[arg-type]
