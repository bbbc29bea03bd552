"""A folder that is written whole or not at all.

Everything goes to a hidden sibling first, which takes the final name by one rename on success. An error, Ctrl-C
or a full disk removes the sibling and leaves what was there before untouched.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anatomy.files import disk_sentence
from twin.errors import TwinError


@contextmanager
def folder_or_nothing(path: Path) -> Iterator[Path]:
    """Give a fresh folder to write in; on success it becomes `path`, replacing a folder of that name.

    Parameters
    ----------
    path : Path
        Where the folder shall be.

    Raises
    ------
    TwinError
        If the folder cannot be written, or the disk is full.
    """
    path = path.absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.partial-", dir=path.parent))
    except OSError as error:
        raise TwinError(disk_sentence(error, path)) from error
    try:
        yield partial
        partial.chmod(0o755)
        _take_place(partial, path)
    except OSError as error:
        raise TwinError(disk_sentence(error, path)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _take_place(partial: Path, path: Path) -> None:
    """Rename `partial` to `path`; a folder that stood there goes only after the new one is in place."""
    if not path.exists():
        os.rename(partial, path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old-", dir=path.parent))
    os.rename(path, old / "was")
    try:
        os.rename(partial, path)
    except OSError:
        os.rename(old / "was", path)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
