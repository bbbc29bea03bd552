"""How a command says no: one clear sentence on standard error and a non-zero exit, never a traceback.

Exit codes: 1 for something that cannot be done as asked, 2 for a command line that cannot be read (typer's
own), 130 after Ctrl-C, as shells have it.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from anatomy.errors import AnatomyError
from solver.errors import SolverError
from twin.errors import TwinError
from viewer.errors import ViewerError
from viewer.interrupts import remembered

_FAMILIES = (AnatomyError, SolverError, TwinError, ViewerError)


def refusals(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command so that what it raises for a person becomes a sentence and an exit code."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            with remembered():
                command(*args, **kwargs)
        except KeyboardInterrupt:
            _say("Stopped. Nothing was left half-written; run the same command to start again.")
            raise typer.Exit(130) from None
        except _FAMILIES as error:
            _say(str(error))
            raise typer.Exit(1) from None
        except MemoryError:
            _say("This machine has too little memory for that; use a larger --edge or fewer structures.")
            raise typer.Exit(1) from None
        except OSError as error:
            _say(_system_sentence(error))
            raise typer.Exit(1) from None

    return run


def _system_sentence(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"The disk is full{where}; free some space and run the same command again."
    return f"{error.strerror or error}{where}; check the path and its permissions."


def _say(sentence: str) -> None:
    Console(stderr=True, soft_wrap=True, highlight=False).print(
        "[bold red]organtwin:[/bold red]", escape(sentence)
    )
