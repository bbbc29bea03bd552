"""Segmenters: whatever gives a label map of a scan, so that a trained network takes the place of the protocols.

Contract: a segmenter has a name, says in a sentence why it cannot be used here (or None), and labels a scan on its
own grid. Nothing of it is imported, downloaded or sent before it is asked to segment. Other distributions add theirs
under the entry point group `organtwin.segmenters`, as a callable that takes `download_weights` and gives a segmenter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Protocol, runtime_checkable

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.progress import Progress, silent
from anatomy.scan import Scan

GROUP = "organtwin.segmenters"


@runtime_checkable
class Segmenter(Protocol):
    """Something that labels scans."""

    @property
    def name(self) -> str:
        """What a person calls it, with its version where it has one; kept in the case."""

    def available(self) -> str | None:
        """Why it cannot be used here, in a sentence that says what to do; None where it can."""

    def segment(
        self, scan: Scan, structures: Sequence[str] | None = None, progress: Progress = silent
    ) -> LabelMap:
        """Label a scan.

        Parameters
        ----------
        scan : Scan
            What to label.
        structures : sequence of str, optional
            Names of the vocabulary; all that the model knows if None.
        progress : Progress
            Who watches.

        Raises
        ------
        AnatomyError
            If it is not available, does not know a structure, or finds nothing.
        """


class Protocols:
    """The protocols of this package as a segmenter.

    Parameters
    ----------
    download_weights : bool
        Of no effect: protocols have no weights.
    """

    name = "SimpleITK protocols of anatomy.segmentation"

    def __init__(self, download_weights: bool = False) -> None:
        del download_weights

    def available(self) -> str | None:
        """Always there."""
        return None

    def segment(
        self, scan: Scan, structures: Sequence[str] | None = None, progress: Progress = silent
    ) -> LabelMap:
        """Label a scan; see `anatomy.segment`."""
        from anatomy.segmentation import segment

        return segment(scan, structures or ["liver"], progress)


def named(name: str, *, download_weights: bool = False) -> Segmenter:
    """The segmenter of a name, ready to use.

    Parameters
    ----------
    name : str
        "protocols", "totalsegmentator", "totalsegmentator:TASK", or what another distribution registered.
    download_weights : bool
        Whether a model may download its weights when they are not on this machine.

    Raises
    ------
    AnatomyError
        If there is none of that name, or it is not available; the message says what to do.
    """
    family, _, task = name.partition(":")
    makers = _makers()
    if family not in makers:
        raise AnatomyError(f"there is no model '{name}'; choose from {', '.join(sorted(makers))}")
    maker = makers[family]
    found = (
        maker(download_weights=download_weights, task=task)
        if task
        else maker(download_weights=download_weights)
    )
    reason = found.available()
    if reason is not None:
        raise AnatomyError(reason)
    return found


def _makers() -> dict[str, Callable[..., Segmenter]]:
    def total(**options: object) -> Segmenter:
        from anatomy.segmentation.deep.totalsegmentator import TotalSegmentator

        return TotalSegmentator(**options)  # type: ignore[arg-type]

    makers: dict[str, Callable[..., Segmenter]] = {"protocols": Protocols, "totalsegmentator": total}
    for entry in metadata.entry_points(group=GROUP):
        makers.setdefault(entry.name, entry.load())
    return makers
