"""Who says which structure each label value stands for.

A label image alone is numbers. The names come, in this order, from the person who reads it (a mapping, a JSON file,
or a published class table by its name), from a JSON file beside the image, or from the image's own header: the
segment keys of organtwin and 3D Slicer in NRRD, the label table that TotalSegmentator embeds in NIfTI. Nothing
is guessed: an image that none of them names is refused.
"""

from __future__ import annotations

import gzip
import json
import struct
import tomllib
import zlib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from anatomy import images, structures
from anatomy.errors import AnatomyError

#: What `LabelMap.read` accepts as names: {value: name}, {name: value}, a JSON file of either, or a class table.
Names = Mapping[Any, Any] | str | Path

# NIfTI-1 and NIfTI-2: bytes of the header, where the offset of the voxels stands in it, and its type.
_NIFTI = {348: (108, "f"), 540: (168, "q")}


@cache
def class_tables() -> Mapping[str, Mapping[int, str]]:
    """Published class tables by name, each {value: name}; the data are in class_tables.toml beside this file."""
    text = resources.files("anatomy").joinpath("class_tables.toml").read_text(encoding="utf-8")
    return {table: dict(enumerate(names, start=1)) for table, names in tomllib.loads(text).items()}


def names_given(given: Names) -> dict[int, str]:
    """What a person gave as names.

    Parameters
    ----------
    given : mapping, str or Path
        {value: name} or {name: value}, a JSON file of either, or the name of a class table
        (`totalsegmentator_v2`).

    Returns
    -------
    dict of int to str
        Name of each value; background (0) is left out.

    Raises
    ------
    AnatomyError
        If it is neither, or an entry is no pair of a value and a name.
    """
    if isinstance(given, Mapping):
        return value_to_name(given, "names")
    table = class_tables().get(str(given))
    if table is not None:
        return dict(table)
    path = Path(given)
    if not path.suffix and not path.exists():
        raise AnatomyError(
            f"there is no class table '{given}'{_near_table(str(given))}; "
            f"known are {', '.join(class_tables())}, or give a JSON file"
        )
    return _read_json(path)


def names_for(path: Path, given: Names | None) -> dict[int, str]:
    """Names of the values of a label image: given, beside it, or embedded in NIfTI.

    Parameters
    ----------
    path : Path
        The image.
    given : mapping, str, Path or None
        What the person gave, see `names_given`.

    Raises
    ------
    AnatomyError
        If nobody says, or what is said is malformed.
    """
    if given is not None:
        return names_given(given)
    if sidecar(path).is_file():
        return _read_json(sidecar(path))
    names = _nifti_names(path)
    if not names:
        raise AnatomyError(
            f"{path} does not say which structure each label is: put {sidecar(path).name} "
            '({"1": "liver", …}) beside it, or give names (--label-names; a JSON file or a class table: '
            f"{', '.join(list(class_tables())[:3])}, …)"
        )
    return names


def sidecar(path: Path) -> Path:
    """The JSON file beside an image that names its labels (`labels.json` beside `labels.nii.gz`)."""
    kind = images.file_type(path) or path.suffix
    return path.with_name(path.name[: len(path.name) - len(kind)] + ".json")


def value_to_name(content: Mapping[Any, Any], where: str) -> dict[int, str]:
    """{value: name} from either direction; background entries (value 0) are left out.

    Raises
    ------
    AnatomyError
        If an entry is no such pair, or a value is named twice.
    """
    names: dict[int, str] = {}
    for key, item in content.items():
        value, name = (key, item) if is_whole(key) else (item, key)
        if not is_whole(value) or not isinstance(name, str) or not name.strip():
            raise AnatomyError(f"{where}: '{key}: {item}' is no pair of a label value and a structure name")
        if int(value) in names:
            raise AnatomyError(
                f"{where}: the label value {int(value)} is named twice, '{names[int(value)]}' and '{name}'"
            )
        if int(value) != 0:
            names[int(value)] = name
    return names


def is_whole(value: object) -> bool:
    """Whether a value is a whole number, as a number or as text."""
    if isinstance(value, str):
        return value.strip().isdecimal()
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _near_table(word: str) -> str:
    return structures.near(word, list(class_tables()))


def _read_json(path: Path) -> dict[int, str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AnatomyError(f"cannot read the label names in {path}: {error.strerror}") from error
    except ValueError as error:
        raise AnatomyError(f"{path} is not JSON ({error}): write it as {{value: name}}") from error
    if not isinstance(content, Mapping):
        raise AnatomyError(f'{path} must hold {{value: name}} or {{name: value}}, such as {{"1": "liver"}}')
    return value_to_name(content, str(path))


def _nifti_names(path: Path) -> dict[int, str]:
    """The label table in a NIfTI header extension, as Connectome Workbench and TotalSegmentator write it."""
    if images.file_type(path) not in (".nii", ".nii.gz"):
        return {}
    for content in _extensions(path):
        start, end = content.find(b"<CaretExtension"), content.rfind(b"</CaretExtension>")
        if start < 0 or end < 0:
            continue
        try:
            table = ElementTree.fromstring(content[start : end + len(b"</CaretExtension>")])
        except ElementTree.ParseError as error:
            raise AnatomyError(
                f"{path}: the label table in its header is damaged ({error}); give names"
            ) from error
        pairs = {label.get("Key", ""): (label.text or "").strip() for label in table.iter("Label")}
        return value_to_name({key: name for key, name in pairs.items() if key != "0"}, str(path))
    return {}


def _extensions(path: Path) -> list[bytes]:
    """Contents of the header extensions of a NIfTI file (nifti1.h: four bytes of flag, then size, code, content)."""
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            head = file.read(544)
            order = "<" if head[:4] in (b"\x5c\x01\0\0", b"\x1c\x02\0\0") else ">"
            size = struct.unpack(order + "i", head[:4])[0]
            at, kind = _NIFTI[size]
            voxels = int(struct.unpack_from(order + kind, head, at)[0])
            rest = head[size:] + file.read(max(0, voxels - len(head)))
    except (OSError, EOFError, zlib.error, struct.error, KeyError):
        return []
    found, position = [], 4
    while rest[:1] not in (b"", b"\0") and position + 8 <= voxels - size:
        length = struct.unpack_from(order + "i", rest, position)[0]
        if length < 8:
            break
        found.append(rest[position + 8 : position + length])
        position += length
    return found
