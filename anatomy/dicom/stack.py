"""Stack: slices in their order along the normal, and whether their places make a regular volume.

Theory: with the normal n = row × column a slice at p has the height p·n. Slices make a volume on a rectangular
grid if the heights grow by one constant gap and the slices stand straight above each other. A tilted gantry
moves the slices along the table and not along n, so that each lies a little aside of the one before: a shear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anatomy.dicom.slices import Slice
from anatomy.repairs import Fault

# A gap may differ from the usual one by 1 %, or by the rounding of positions written with two decimals.
_GAP_SHARE, _GAP_ROUNDING_MM = 0.01, 0.0101
# Slices nearer than this lie at one place.
_SAME_MM = 1e-3
# A slice may stand aside by half a voxel, which no picture shows.
_ASIDE_VOXELS = 0.5


@dataclass(frozen=True, eq=False)
class Stack:
    """Parallel slices of one size, sorted along their normal.

    Parameters
    ----------
    slices : sequence of Slice
        From the lowest along the normal to the highest.
    """

    slices: Sequence[Slice]

    @classmethod
    def of(cls, slices: Sequence[Slice]) -> Stack:
        """Sort slices of one direction; those at one place by their numbers."""
        normal = frame_of(slices[0].axes)[2]
        return cls(sorted(slices, key=lambda one: (round(float(one.position @ normal), 3), one.number)))

    @cached_property
    def frame(self) -> NDArray[np.float64]:
        """Directions of rows, columns and the normal, orthonormal, one a row, shape (3, 3)."""
        return frame_of(np.mean([one.axes for one in self.slices], axis=0))

    @cached_property
    def positions(self) -> NDArray[np.float64]:
        """Centre of the first voxel of each slice, LPS mm, shape (n, 3)."""
        return np.array([one.position for one in self.slices])

    @cached_property
    def heights(self) -> NDArray[np.float64]:
        """Height of each slice along the normal, mm, shape (n,)."""
        return self.positions @ self.frame[2]

    @cached_property
    def aside(self) -> NDArray[np.float64]:
        """How far each slice lies aside of the first, along rows and columns, mm, shape (n, 2)."""
        return (self.positions - self.positions[0]) @ self.frame[:2].T

    @property
    def gaps(self) -> NDArray[np.float64]:
        """Distance of neighbouring slices along the normal, mm, shape (n - 1,)."""
        return np.diff(self.heights)

    @property
    def usual_gap(self) -> float:
        """Median gap, mm."""
        return float(np.median(self.gaps))

    @property
    def spacing(self) -> tuple[float, float]:
        """Distance of voxels within rows and within columns, mm."""
        return self.slices[0].across_mm, self.slices[0].down_mm

    @property
    def copies(self) -> NDArray[np.int64]:
        """Indices of slices that lie where the one before them lies."""
        return np.flatnonzero(self.gaps < _SAME_MM) + 1

    @property
    def odd_gaps(self) -> NDArray[np.int64]:
        """Indices of the gaps that differ from the usual one."""
        return np.flatnonzero(np.abs(self.gaps - self.usual_gap) > self.gap_tolerance)

    @property
    def gap_tolerance(self) -> float:
        """How far a gap may be from the usual one, mm."""
        return max(_GAP_SHARE * self.usual_gap, _GAP_ROUNDING_MM)

    @property
    def is_skewed(self) -> bool:
        """Whether slices do not stand straight above each other."""
        return bool(np.abs(self.aside).max() > _ASIDE_VOXELS * min(self.spacing))

    @property
    def tilt_degrees(self) -> float:
        """Angle between the normal and the way from the first slice to the last."""
        return float(np.degrees(np.arctan2(np.linalg.norm(self.aside[-1]), np.ptp(self.heights))))

    @property
    def where(self) -> str:
        """The folder or file, for messages."""
        first = self.slices[0].path
        return str(first if all(one.path == first for one in self.slices) else first.parent)


def frame_of(axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row, column and normal direction, orthonormal, one a row, shape (3, 3); headers round their cosines."""
    row = axes[0] / np.linalg.norm(axes[0])
    column = axes[1] - (axes[1] @ row) * row
    column /= np.linalg.norm(column)
    return np.array([row, column, np.cross(row, column)])


def copies_fault(stack: Stack) -> Fault | None:
    """Slices that lie at one place, if there are any."""
    same = stack.copies
    if same.size == 0:
        return None
    names = f"such as {stack.slices[same[0] - 1].name} and {stack.slices[same[0]].name} in {stack.where}"
    if same.size == len(stack.slices) - 1:
        # A tracker or a time series of a single slice: no repair makes a volume of it.
        return Fault(
            f"all slices lie at one position ({names}): a time series of one slice is no volume; "
            "give a series of slices"
        )
    where = "two slices lie" if same.size == 1 else f"{same.size + 1} slices lie"
    return Fault(
        f"{where} at one position ({names}): copies, several phases or a time series",
        "drop",
        "keeps the one with the lowest instance number at each position",
    )


def geometry_faults(stack: Stack) -> list[Fault]:
    """Uneven gaps and skewed slices of a stack without copies."""
    faults = []
    if stack.is_skewed:
        faults.append(
            Fault(_skew_words(stack), "deskew", "moves each slice within its plane to its true place")
        )
    if stack.odd_gaps.size:
        faults.append(Fault(_gap_words(stack), "resample", "interpolates them onto even slices"))
    return faults


def _skew_words(stack: Stack) -> str:
    way = stack.heights - stack.heights[0]
    straight = np.outer(way / way[-1], stack.aside[-1])
    if np.abs(stack.aside - straight).max() > _ASIDE_VOXELS * min(stack.spacing):
        worst = float(np.linalg.norm(stack.aside, axis=1).max())
        return f"the slices in {stack.where} are shifted sideways against each other by up to {worst:.1f} mm"
    return f"the slices in {stack.where} are sheared by {stack.tilt_degrees:.1f}° (a tilted gantry)"


def _gap_words(stack: Stack) -> str:
    gaps, odd = stack.gaps, stack.odd_gaps
    at = int(odd[np.argmax(np.abs(gaps[odd] - stack.usual_gap))])
    a, b = stack.slices[at].name, stack.slices[at + 1].name
    many = f" ({odd.size} such gaps)" if odd.size > 1 else ""
    return (
        f"the slices are not evenly spaced: {gaps[at]:.4g} mm between {a} and {b} in {stack.where}, "
        f"{stack.usual_gap:.4g} mm elsewhere{many}: slices are missing, so copy the whole "
        "series again"
    )
