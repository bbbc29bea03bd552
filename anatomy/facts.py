"""Facts: what is known of a scan besides its voxels; nothing that points to a person.

Contract: every value is a technical one, in our own words where a header holds free text, and small enough for
the header of an NRRD file, where `to_metadata` and `from_metadata` keep it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from anatomy.errors import AnatomyError
from anatomy.repairs import Repair

_PREFIX = "organtwin_"


@dataclass(frozen=True)
class Facts:
    """Technical facts about a scan.

    Parameters
    ----------
    modality : str
        DICOM modality code ('CT', 'MR', ...) or 'unknown'.
    kvp : float, optional
        Peak tube voltage, kV.
    contrast : str, optional
        Contrast phase in one of our own words.
    slice_thickness_mm : float, optional
        Thickness of the slices, mm.
    series : str, optional
        Number of the series, stack or volume that was chosen of several; a number, since a UID names a patient.
    repairs : tuple of Repair
        What was done to make a volume of it, in the order it was done.
    """

    modality: str
    kvp: float | None = None
    contrast: str | None = None
    slice_thickness_mm: float | None = None
    series: str | None = None
    repairs: tuple[Repair, ...] = ()

    #: Entries of an NRRD header that hold facts.
    KEYS: ClassVar[tuple[str, ...]] = tuple(
        _PREFIX + name for name in ("modality", "kvp", "contrast", "slice_thickness_mm", "series", "repairs")
    )

    def to_metadata(self) -> dict[str, str]:
        """Entries for the header of an NRRD file."""
        found = {
            name: str(value)
            for name in ("modality", "kvp", "contrast", "slice_thickness_mm", "series")
            if (value := getattr(self, name)) is not None
        }
        if self.repairs:
            found["repairs"] = json.dumps([[repair.name, repair.what] for repair in self.repairs])
        return {_PREFIX + name: value for name, value in found.items()}

    @classmethod
    def from_metadata(cls, entries: Mapping[str, str]) -> Facts:
        """The facts that `to_metadata` wrote; the header of another tool states none.

        Raises
        ------
        AnatomyError
            If the entries are damaged.
        """
        text = {key[len(_PREFIX) :]: value for key, value in entries.items() if key in cls.KEYS}
        try:
            return cls(
                text.get("modality", "unknown"),
                _number(text.get("kvp")),
                text.get("contrast"),
                _number(text.get("slice_thickness_mm")),
                text.get("series"),
                tuple(Repair(str(name), str(what)) for name, what in json.loads(text.get("repairs", "[]"))),
            )
        except (ValueError, TypeError) as error:
            raise AnatomyError("the header's organtwin entries are damaged: write the scan again") from error


def _number(text: str | None) -> float | None:
    return float(text) if text else None
