"""Series: which of the pictures in a folder belong together, and the one stack that a person meant.

Nothing is chosen where there is a choice. Several series, several stacks of one series (directions, sizes, echoes,
time points, acquisitions), and localisers beside a series are listed with a number each; a number picks one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anatomy.dicom.slices import KINDS, Slice, counted, number_of
from anatomy.dicom.stack import Stack
from anatomy.errors import AnatomyError
from anatomy.repairs import Fault, Repair, refuse_unmended


@dataclass(frozen=True, eq=False)
class Group:
    """Slices that belong together, and what to call them in a list."""

    number: str
    words: str
    slices: Sequence[Slice]

    def __str__(self) -> str:
        return f"{self.number} ({self.words})"


def choose(
    place: Path, slices: Sequence[Slice], series: str | int | None, wanted: frozenset[str]
) -> tuple[list[Slice], list[Repair], str | None]:
    """The slices of the one stack, or of the chosen one, what was left out for it, and the number chosen.

    Parameters
    ----------
    place : Path
        Where the slices come from, for messages.
    slices : sequence of Slice
        All pictures there.
    series : str or int, optional
        Number of a series ('2') or of a stack of it ('2.1') in the refusal's list, or a SeriesInstanceUID.
    wanted : frozenset of str
        Repairs that were asked for; 'drop' leaves out localisers and stacks with few slices.

    Raises
    ------
    AnatomyError
        If there is a choice and none was made, or the chosen one is no stack of grey slices.
    """
    groups = _series(slices)
    done: list[Repair] = []
    if series is None:
        group, beside = _only(place, groups, slices)
        if beside is not None:
            refuse_unmended([beside], wanted)
            done.append(
                Repair("drop", f"{counted(len(slices) - len(group.slices), 'picture')} beside the series")
            )
        stack_number = None
    else:
        group, stack_number = _picked(place, groups, str(series))
    _check_kind(group.slices)
    stacks = _stacks(group)
    if stack_number is not None:
        if stack_number not in range(1, len(stacks) + 1):
            raise AnatomyError(
                f"series {group.number} of {place} has no stack '{series}': it has {_list(stacks)}"
            )
        picked = stacks[stack_number - 1]
        return list(picked.slices), done, picked.number
    number = None if series is None else group.number
    if len(stacks) == 1:
        return list(stacks[0].slices), done, number
    kept, repair = _largest(place, stacks, wanted)
    return list(kept.slices), [*done, repair], number


def _series(slices: Sequence[Slice]) -> list[Group]:
    """Series that may be volumes, numbered in the order of their series numbers."""
    found: dict[str, list[Slice]] = {}
    for one in slices:
        found.setdefault(str(one.header.get("SeriesInstanceUID", "")), []).append(one)
    volumes = {
        uid: group
        for uid, group in found.items()
        if len(group) > 1 and not all(one.is_localiser for one in group)
    }
    order = sorted(volumes, key=lambda uid: (number_of(volumes[uid][0].header, "SeriesNumber") or 0, uid))
    groups = []
    for number, uid in enumerate(order, start=1):
        header = volumes[uid][0].header
        about = str(header.get("SeriesDescription", "") or "").strip()
        words = f"{header.get('Modality', 'image')}, {len(volumes[uid])} slices"
        groups.append(Group(str(number), words + (f", {about}" if about else ""), volumes[uid]))
    return groups


def _only(place: Path, groups: list[Group], slices: Sequence[Slice]) -> tuple[Group, Fault | None]:
    """The only series, and the fault of other pictures beside it; several are refused."""
    if len(groups) > 1:
        raise AnatomyError(
            f"{place} holds {len(groups)} series: {_list(groups)}; choose one with series=NUMBER (--series "
            "NUMBER), or give a folder with that series alone"
        )
    if not groups:
        scouts = sum(one.is_localiser for one in slices)
        what = counted(len(slices), "single picture")
        if scouts:
            what = f"localisers alone ({scouts} of {len(slices)} pictures)"
        raise AnatomyError(f"{place} holds {what} and no volume: give a series of slices")
    group = groups[0]
    chosen = {id(one) for one in group.slices}
    others = [one for one in slices if id(one) not in chosen]
    if not others:
        return group, None
    scouts = sum(one.is_localiser for one in others)
    parts = [counted(scouts, "localiser picture")] if scouts else []
    if len(others) > scouts:
        parts.append(counted(len(others) - scouts, "single picture"))
    return group, Fault(
        f"{place} holds {' and '.join(parts)}, such as {others[0].path.name}, beside the series {group}; "
        f"--series {group.number} picks that series",
        "drop",
        "leaves the others out",
    )


def _picked(place: Path, groups: list[Group], series: str) -> tuple[Group, int | None]:
    """The series a person named by number or UID, and the number of its stack if they gave one."""
    for group in groups:
        if series in (group.number, str(group.slices[0].header.get("SeriesInstanceUID", ""))):
            return group, None
        head, dot, tail = series.partition(".")
        if dot and head == group.number and tail.isdigit():
            return group, int(tail)
    raise AnatomyError(f"{place} has no series '{series}': it has {_list(groups) or 'none'}")


def _check_kind(slices: Sequence[Slice]) -> None:
    """Refuse what is not grey pictures with a place in the patient."""
    for one in slices:
        if one.is_colour:
            raise AnatomyError(
                f"{one.path} is a colour picture (RGB or palette): give the original grey series"
            )
        if one.header.get("ModalityLUTSequence", None):
            raise AnatomyError(
                f"{one.path} gives its values by a look-up table, which is not read: export the series with a "
                "rescale slope and intercept"
            )
        if "MOSAIC" in [str(part).upper() for part in one.header.get("ImageType", None) or []]:
            raise AnatomyError(
                f"{one.path} is a mosaic of many slices in one picture, which is not read: export the series as "
                "single slices or as an enhanced object"
            )
        if one.missing:
            raise AnatomyError(
                f"{one.path} does not say where its slice lies (no {one.missing}): give the original series"
            )
        if not one.has_true_axes:
            raise AnatomyError(
                f"{one.path} states directions or pixel spacings that cannot be: its rows and columns must be at "
                "right angles and its pixels have an extent; give the original series"
            )


def _stacks(series: Group) -> list[Group]:
    """Stacks of a series: of one direction, size and kind each, numbered 'series.stack'."""
    parts = [("", list(series.slices))]
    parts = _split(parts, "localiser", lambda one: one.is_localiser)
    parts = _split_by_direction(_split(parts, "stack", lambda one: one.stack))
    parts = _split(parts, "size", _size_words)
    for kind in KINDS:
        parts = _split_by_kind(parts, kind)
    parts.sort(key=lambda part: -len(part[1]) if len(parts) > 1 else 0)
    return [
        Group(f"{series.number}.{number}", f"{len(slices)} slices" + words, slices)
        for number, (words, slices) in enumerate(parts, start=1)
    ]


Part = tuple[str, list[Slice]]


def _split(parts: list[Part], words: str, key: Callable[[Slice], Hashable]) -> list[Part]:
    """Every part split by what `key` says, where it says different things."""
    found = []
    for said, slices in parts:
        by: dict[Hashable, list[Slice]] = {}
        for one in slices:
            by.setdefault(key(one), []).append(one)
        if len(by) == 1:
            found.append((said, slices))
            continue
        for value, some in by.items():
            found.append((f"{said}, {_said(words, value)}", some))
    return found


def _said(words: str, value: Hashable) -> str:
    if isinstance(value, bool):
        return words if value else f"no {words}"
    return f"{words} {value}"


def _size_words(one: Slice) -> str:
    columns, rows = one.size
    return f"{columns}×{rows} of {round(one.across_mm, 4):g}×{round(one.down_mm, 4):g} mm"


def _split_by_direction(parts: list[Part]) -> list[Part]:
    """Every part split into slices that are parallel within the rounding of their cosines."""
    found: list[Part] = []
    for said, slices in parts:
        ways: list[list[Slice]] = []
        for one in slices:
            way = next((way for way in ways if np.abs(one.axes - way[0].axes).max() <= 1e-3), None)
            if way is None:
                ways.append([one])
            else:
                way.append(one)
        if len(ways) == 1:
            found.append((said, slices))
            continue
        for way in ways:
            normal = np.cross(*way[0].axes)
            found.append((f"{said}, facing {', '.join(f'{v:.2f}' for v in normal)}", way))
    return found


def _split_by_kind(parts: list[Part], kind: str) -> list[Part]:
    """Parts with several slices at one place, split by a kind where that leaves fewer and each a stack."""
    found: list[Part] = []
    for said, slices in parts:
        split = _split([(said, slices)], kind, lambda one: one.kinds.get(kind, "not stated"))
        before = Stack.of(slices).copies.size
        after = sum(Stack.of(some).copies.size for _, some in split)
        better = before > 0 and after < before and all(len(some) > 1 for _, some in split)
        found += split if better else [(said, slices)]
    return found


def _largest(place: Path, stacks: list[Group], wanted: frozenset[str]) -> tuple[Group, Repair]:
    """The stack with most of the slices, where the others may be dropped; refuses otherwise."""
    total = sum(len(stack.slices) for stack in stacks)
    first = stacks[0]
    clear = 2 * len(first.slices) > total
    reason = _difference(stacks)
    choice = f"{reason} in {place}: {_list(stacks)}; choose one with series=NUMBER (--series NUMBER)"
    if not clear:
        unsure = " (drop cannot tell which to keep: none has most of the slices)" if "drop" in wanted else ""
        raise AnatomyError(choice + unsure)
    refuse_unmended([Fault(choice, "drop", f"keeps {first.number}, which has most of the slices")], wanted)
    return first, Repair("drop", f"{total - len(first.slices)} of {total} slices, all but stack {first}")


def _difference(stacks: list[Group]) -> str:
    first, other = stacks[0].slices[0], stacks[1].slices[0]
    pair = f"{first.name} and {other.name}"
    if any(one.is_localiser for stack in stacks for one in stack.slices):
        return f"the series holds localisers among its slices ({pair})"
    if np.abs(first.axes - other.axes).max() > 1e-3:
        return f"slices of one series lie in different directions ({pair})"
    if _size_words(first) != _size_words(other):
        return (
            f"the slices of one series differ in size or spacing ({first.name} is {_size_words(first)}, "
            f"{other.name} is {_size_words(other)})"
        )
    return f"the series holds {len(stacks)} stacks"


def _list(groups: Sequence[Group]) -> str:
    return ", ".join(str(group) for group in groups)
