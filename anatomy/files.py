"""Files that are written whole or not at all, and one sentence for what the disk said.

Everything goes to a hidden sibling first, which takes the final name by one rename; an error, Ctrl-C or a full disk
removes the sibling and leaves what was there before untouched.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anatomy.errors import AnatomyError


@contextmanager
def whole_or_nothing(path: Path, failure: type[Exception] = AnatomyError) -> Iterator[Path]:
    """A temporary sibling of `path`, of the same suffix, that takes its place on success.

    Parameters
    ----------
    path : Path
        The file to make or replace; its folder must exist.
    failure : type of Exception
        What to raise: the exception of the package that writes.

    Raises
    ------
    failure
        If there is no such folder, it is not writable, or the disk is full.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=".writing-", suffix="".join(path.suffixes), dir=path.parent)
        os.close(handle)
        os.chmod(name, 0o666 & ~_umask())
    except OSError as error:
        raise failure(disk_sentence(error, path)) from error
    temporary = Path(name)
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise failure(disk_sentence(error, path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def disk_sentence(error: OSError, path: Path) -> str:
    """One sentence for what the operating system said while `path` was written."""
    if error.errno == errno.ENOSPC:
        return f"The disk is full: {path} was not written; free some space and run it again."
    if error.errno == errno.ENOENT:
        return f"{path} cannot be written: there is no folder {path.parent}; make it first."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{path} may not be written there; choose a folder of your own."
    return f"{path} could not be written ({error.strerror}); choose another place."


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
