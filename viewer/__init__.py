"""Every face a person sees: the desktop window, the terminal, the report, pictures and movies.

`show` opens the window on a case, `picture` draws it without one. Names are imported when first used, so that
reading `viewer` loads neither Qt nor VTK.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from viewer.desktop import show
    from viewer.errors import ViewerError
    from viewer.pictures import picture

__all__ = ["ViewerError", "picture", "show"]

_HOME = {"ViewerError": "viewer.errors", "picture": "viewer.pictures", "show": "viewer.desktop"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'viewer' has no attribute {name!r}")
