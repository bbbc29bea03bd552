"""Archive: a zip file of DICOM slices, unpacked where it can do no harm.

Names in an archive are not trusted: members are written under numbers of our own, so that no name can lead out
of the folder; links and other special members are passed over; and no more is unpacked than a bound, because a
small archive can hold more than a disk.
"""

from __future__ import annotations

import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from anatomy.errors import AnatomyError

#: Bytes that an archive may unpack to, and the files in it: a large whole-body study.
MOST_BYTES, MOST_FILES = 16 * 2**30, 100_000


def is_archive(path: Path) -> bool:
    """Whether a file is a zip archive, by its content."""
    return path.is_file() and zipfile.is_zipfile(path)


@contextmanager
def unpacked(path: Path, most_bytes: int = MOST_BYTES) -> Iterator[Path]:
    """A folder with the files of an archive, gone afterwards; errors name the archive.

    Parameters
    ----------
    path : Path
        The zip archive.
    most_bytes : int
        Bytes that it may unpack to.

    Raises
    ------
    AnatomyError
        If the archive is damaged, locked with a password, or unpacks to more than the bound or the disk holds.
    """
    with tempfile.TemporaryDirectory(prefix="organtwin-") as name:
        folder = Path(name)
        try:
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, path, folder, most_bytes)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise AnatomyError(f"{path} is a damaged or cut-short archive: copy it again") from error
        except OSError as error:
            raise AnatomyError(f"{path} cannot be unpacked ({error.strerror or error})") from error
        try:
            yield folder
        except AnatomyError as error:
            raise AnatomyError(str(error).replace(str(folder), str(path))) from error


def _unpack(archive: zipfile.ZipFile, path: Path, folder: Path, most_bytes: int) -> None:
    members = [member for member in archive.infolist() if _is_plain_file(member)]
    total = sum(member.file_size for member in members)
    room = shutil.disk_usage(folder).free
    if len(members) > MOST_FILES or total > most_bytes:
        raise AnatomyError(
            f"{path} unpacks to {len(members):,} files of {total / 2**30:.1f} GiB in all, more than the "
            f"{most_bytes / 2**30:.3g} GiB that are taken: unpack it yourself and give the folder of one series"
        )
    if total > 0.9 * room:
        raise AnatomyError(
            f"{path} unpacks to {total / 2**30:.1f} GiB, and the disk has {room / 2**30:.1f} GiB left in "
            f"{folder.parent}: free some space"
        )
    for number, member in enumerate(members):
        if member.flag_bits & 0x1:
            raise AnatomyError(f"{path} is locked with a password: unpack it yourself and give the folder")
        _write_member(archive, member, folder / f"{number:06d}" / PurePosixPath(member.filename).name)


def _is_plain_file(member: zipfile.ZipInfo) -> bool:
    """Whether a member is a file, and no folder, link or note of a file browser."""
    mode = member.external_attr >> 16
    name = PurePosixPath(member.filename).name
    special = stat.S_IFMT(mode) not in (0, stat.S_IFREG)
    return not (member.is_dir() or special or name in ("", "..") or name.startswith("."))


def _write_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    """Copy no more than the member says it holds; a header that lies is damaged."""
    target.parent.mkdir()
    left = member.file_size
    with archive.open(member) as source, target.open("wb") as file:
        while chunk := source.read(1 << 20):
            left -= len(chunk)
            if left < 0:
                raise zipfile.BadZipFile("a member holds more than its header says")
            file.write(chunk)
