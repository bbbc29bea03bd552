"""The vocabulary of structures: what a name means, how it is shown, and which tissue it is made of.

Names follow TotalSegmentator v2 where it has one; ours besides are British English. A structure carries the
SNOMED CT code of its type where the DICOM code dictionaries or TotalSegmentator's mapping publish one, a calm
anatomical colour, the words other tools use for it, and the tissue the solver looks up. The data are in
`structures.toml` beside this file.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from anatomy.errors import AnatomyError

# SNOMED CT qualifier values, as DICOM's laterality modifiers (PS3.16 CID 244).
_SIDE_CODES = {"left": "7771000", "right": "24028007"}


@dataclass(frozen=True)
class Structure:
    """One entry of the vocabulary.

    Parameters
    ----------
    name : str
        The name used in label maps, meshes and cases.
    title : str
        English words for a person.
    kind : str
        One of organ, tumour, vessel, bone, muscle, fat, nerve, region.
    tissue : str
        Name the solver looks up in its tissue table.
    colour : tuple of three int
        Red, green, blue, 0-255.
    snomed : str or None
        SNOMED CT code of the type; None where no published code list we could check has one.
    side : str or None
        'left', 'right' or None.
    region : str or None
        SNOMED CT code of the organ a finding (a tumour) lies in.
    aliases : tuple of str
        Other words that `find` accepts.
    """

    name: str
    title: str
    kind: str
    tissue: str
    colour: tuple[int, int, int]
    snomed: str | None = None
    side: str | None = None
    region: str | None = None
    aliases: tuple[str, ...] = ()

    @property
    def side_code(self) -> str | None:
        """SNOMED CT code of the side, or None for a structure without one."""
        return _SIDE_CODES[self.side] if self.side else None


@dataclass(frozen=True)
class Coded:
    """What a file's codes say a structure is.

    Parameters
    ----------
    scheme : str
        Coding scheme designator: SCT (SNOMED CT), SRT (its older identifiers) or another.
    value : str
        Code value of the type.
    side : str or None
        'left', 'right' or None.
    region : str or None
        Code value, in the same scheme, of the organ a finding lies in.
    """

    scheme: str
    value: str
    side: str | None = None
    region: str | None = None


@cache
def vocabulary() -> Mapping[str, Structure]:
    """Every structure by its name, in the order of the data file."""
    text = resources.files("anatomy").joinpath("structures.toml").read_text(encoding="utf-8")
    known: dict[str, Structure] = {}
    for key, entry in tomllib.loads(text).items():
        for structure in _expand(key, entry):
            known[structure.name] = structure
    return known


def find(name: str) -> Structure:
    """The structure a word stands for: its name, its English title or an alias, in any case and spacing.

    Raises
    ------
    AnatomyError
        If the word is unknown; the message offers the nearest known names.
    """
    structure = lookup(name)
    if structure is None:
        raise AnatomyError(f"unknown structure '{name}'{near(name, _words())}")
    return structure


def lookup(name: str) -> Structure | None:
    """Like `find`, but None where the word is unknown."""
    return _words().get(_plain(name))


def canonical(name: str) -> str:
    """The vocabulary's name for a word, or the word itself where the vocabulary has none."""
    structure = lookup(name)
    return structure.name if structure else name.strip()


def of_code(coded: Coded) -> Structure | None:
    """The structure a code stands for, or None where no structure, or no single one, has it.

    Older identifiers (SRT, and SNM3 and 99SDM, which count as SRT) are compared as DICOM maps them (PS3.16 8.1). A
    finding, such as a tumour, must lie in the organ of the structure.
    """
    # Loading DICOM's dictionaries takes half a second, and most label maps have no codes.
    from pydicom.sr.coding import Code

    scheme = "SRT" if coded.scheme in ("SNM3", "99SDM") else coded.scheme
    wanted = Code(coded.value, scheme, "")
    region = Code(coded.region or "", scheme, "")
    for structure in vocabulary().values():
        if structure.snomed is None or structure.side != coded.side:
            continue
        place = Code(structure.region, "SCT", "") if structure.region else None
        if wanted == Code(structure.snomed, "SCT", "") and (place is None or place == region):
            return structure
    return None


def assumed(names: Iterable[str]) -> list[str]:
    """What was taken for granted in names as written: a tumour of no stated organ counts as the liver's.

    Parameters
    ----------
    names : iterable of str
        Every name of one label map, as written.

    Returns
    -------
    list of str
        One sentence a name; none where the map holds a liver, or nothing was assumed.
    """
    written = list(names)
    meant = [canonical(name) for name in written]
    if any(name == "liver" or name.startswith("liver_segment_") for name in meant):
        return []
    return [
        f"the label '{name}' was taken as a tumour of the liver: name it otherwise if it lies elsewhere"
        for name, structure in zip(written, meant, strict=True)
        if structure == "liver_tumour" and not re.search("liver|hepat", _plain(name))
    ]


def near(name: str, words: Mapping[str, Structure] | list[str]) -> str:
    """End of an error sentence: '; did you mean …?', or empty when nothing is near."""
    plain = {_plain(word): word for word in words}
    close = difflib.get_close_matches(_plain(name), plain, n=3, cutoff=0.6)
    names = dict.fromkeys(words[plain[c]].name if isinstance(words, Mapping) else plain[c] for c in close)
    return f"; did you mean {' or '.join(names)}?" if names else ""


@cache
def _words() -> Mapping[str, Structure]:
    """Every accepted word in plain form; a name or title wins over an alias of another structure."""
    words: dict[str, Structure] = {}
    for structure in vocabulary().values():
        words[_plain(structure.name)] = structure
    for structure in vocabulary().values():
        for word in (structure.title, *structure.aliases):
            words.setdefault(_plain(word), structure)
    return words


def _plain(word: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", word.casefold()).strip("_")


def _expand(key: str, entry: Mapping[str, Any]) -> list[Structure]:
    """The structures of one entry of the data file: a left and a right one where the key ends in `_*`."""
    aliases = tuple(entry.get("aliases", ()))
    common: dict[str, Any] = {name: entry.get(name) for name in ("kind", "tissue", "snomed", "region")}
    colour = (int(entry["colour"][0]), int(entry["colour"][1]), int(entry["colour"][2]))
    if not key.endswith("_*"):
        return [Structure(name=key, title=entry["title"], colour=colour, aliases=aliases, **common)]
    stem = key.removesuffix("_*")
    both = []
    for side in ("left", "right"):
        marks = (side, side[0])
        words = [form for a in (stem, *aliases) for mark in marks for form in (f"{a}_{mark}", f"{mark}_{a}")]
        both.append(
            Structure(
                name=f"{stem}_{side}",
                title=f"{side} {entry['title']}",
                colour=colour,
                side=side,
                aliases=tuple(words[1:]),
                **common,
            )
        )
    return both
