"""Repairs: what may be done to slices that are no regular volume, when a person asks for it by name.

Contract: nothing is mended unasked. A reader names each fault with the repair that mends it; a repair that was
asked for and finds nothing to mend is refused, and one that was done is kept as a `Repair` with the scan.

==========  ==============================================================================================
`drop`      leaves out localisers, copies of slices, and the few slices that lie or measure otherwise
`deskew`    moves slices within their own planes until they stand straight above each other (gantry tilt)
`resample`  interpolates linearly onto an even, rectangular grid (uneven or missing slices, sheared axes)
==========  ==============================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from anatomy.errors import AnatomyError

#: The repairs, in the order they are done.
REPAIRS = ("drop", "deskew", "resample")


@dataclass(frozen=True)
class Repair:
    """A repair that was done.

    Parameters
    ----------
    name : str
        'drop', 'deskew' or 'resample'.
    what : str
        What it did, in words with numbers and units.
    """

    name: str
    what: str

    def __str__(self) -> str:
        return f"{self.name}: {self.what}"


@dataclass(frozen=True)
class Fault:
    """Why slices are no volume, and which repair mends it ('' if none does)."""

    what: str
    repair: str = ""
    effect: str = ""


def check_repairs(wanted: str | Iterable[str] | None) -> frozenset[str]:
    """The repairs a person asked for: one name, names with commas between, or several.

    Raises
    ------
    AnatomyError
        If a name is none of `REPAIRS`.
    """
    parts = [wanted] if isinstance(wanted, str) else list(wanted or ())
    names = [name.strip() for part in parts for name in part.split(",") if name.strip()]
    for name in names:
        if name not in REPAIRS:
            raise AnatomyError(f"there is no repair '{name}': choose from {', '.join(REPAIRS)}")
    return frozenset(names)


def refuse_unmended(faults: Sequence[Fault], wanted: frozenset[str]) -> None:
    """Refuse the faults for which no repair was asked.

    Raises
    ------
    AnatomyError
        One sentence with every such fault and what mends it.
    """
    left = [fault for fault in faults if fault.repair not in wanted]
    if not left:
        return
    parts = []
    for fault in left:
        offer = f"; --repair {fault.repair} {fault.effect}" if fault.repair else ""
        parts.append(fault.what + offer)
    raise AnatomyError("; and ".join(parts) + _useless(faults, wanted))


def _useless(faults: Sequence[Fault], wanted: frozenset[str]) -> str:
    useless = [name for name in REPAIRS if name in wanted and name not in {f.repair for f in faults}]
    return f" ({' and '.join(useless)} does not mend this)" if useless else ""


def refuse_needless(done: Iterable[Repair], wanted: frozenset[str], where: object) -> None:
    """Refuse repairs that were asked for and had nothing to mend: the scan is not what the person thought.

    Raises
    ------
    AnatomyError
        Naming them.
    """
    used = {repair.name for repair in done}
    needless = [name for name in REPAIRS if name in wanted and name not in used]
    if needless:
        raise AnatomyError(
            f"{where} has nothing to {' or '.join(needless)}: leave out --repair {','.join(needless)}"
        )
