"""The desktop window. Qt is imported here and nowhere else, and only when a window is asked for."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from importlib import util
from pathlib import Path
from typing import Any

from viewer.errors import ViewerError

__all__ = ["show"]


def show(case: Any) -> None:
    """Open the window on a case and stay until it is closed.

    Parameters
    ----------
    case : Case
        The case to rehearse on.

    Raises
    ------
    ViewerError
        If Qt is not installed, or there is no display to open a window on.
    """
    check_window_possible()
    from viewer.desktop.window import run

    run(case)


def check_window_possible() -> None:
    """Refuse with a sentence where Qt would end the process with an abort.

    Raises
    ------
    ViewerError
        If Qt or pyvistaqt is missing, no display answers, or a library of Qt's window system is missing.
    """
    missing = [name for name in ("PySide6", "pyvistaqt") if util.find_spec(name) is None]
    if missing:
        raise ViewerError(
            f"The window needs {' and '.join(missing)}, which is not installed; "
            'install it with: python -m pip install "organtwin[desktop]"'
        )
    if not sys.platform.startswith("linux") or os.environ.get("WAYLAND_DISPLAY"):
        return
    display = os.environ.get("DISPLAY", "")
    if not display:
        raise ViewerError(
            "There is no display to open a window on; use `organtwin replay`, which needs none, "
            "or start a desktop session."
        )
    if not _answers(display):
        raise ViewerError(f"The display {display} does not answer; check DISPLAY, or use `organtwin replay`.")
    _check_libraries()


def _answers(display: str) -> bool:
    """Whether a local X server listens; a display on another machine is believed."""
    host, _, number = display.partition(":")
    if host not in ("", "unix"):
        return True
    path = f"/tmp/.X11-unix/X{number.split('.')[0]}"
    for address in (path, f"\0{path}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            try:
                link.connect(address)
            except OSError:
                continue
            return True
    return False


def _check_libraries() -> None:
    """Load Qt's X11 plug-in once, because Qt itself aborts when a library of it is missing."""
    from PySide6.QtCore import QLibraryInfo

    plugin = Path(QLibraryInfo.path(QLibraryInfo.LibraryPath.PluginsPath)) / "platforms" / "libqxcb.so"
    if not plugin.is_file():
        return
    try:
        ctypes.CDLL(str(plugin))
    except OSError as error:
        library = str(error).split(":")[0]
        raise ViewerError(
            f"Qt cannot open windows here because {library} is missing; on Debian or Ubuntu type: "
            "sudo apt-get install libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxkbcommon-x11-0"
        ) from error
