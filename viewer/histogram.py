"""A histogram as SVG text, in the report's own type."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

_WIDTH, _HEIGHT = 290.0, 150.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 8.0, 8.0, 34.0, 24.0


@dataclass(frozen=True)
class Histogram:
    """How often the values of one quantity occur.

    Parameters
    ----------
    title : str
        What is counted, with its unit.
    values : ndarray, shape (k,)
        The values.
    low, high : float
        Ends of the axis.
    ticks : sequence of float
        Values written under it.
    unit : str
        Written behind the ticks.
    colour : str
        Hex colour of the bars.
    bounds : sequence of float
        Values marked with a line: what the mesher promises.
    bins : int
        Number of bars.
    """

    title: str
    values: NDArray[np.floating]
    low: float
    high: float
    ticks: tuple[float, ...]
    unit: str
    colour: str
    bounds: tuple[float, ...] = ()
    bins: int = 60

    def shares(self) -> NDArray[np.float64]:
        """Share of all values in each bar, shape (bins,); values beyond the axis count in its end bars."""
        inside = np.clip(self.values, self.low, self.high)
        count, _ = np.histogram(inside, bins=self.bins, range=(self.low, self.high))
        return np.asarray(count / max(1, len(self.values)))

    def svg(self) -> str:
        """Return the histogram as an SVG element."""
        shares = self.shares()
        top = float(shares.max()) or 1.0
        floor, room = _HEIGHT - _BOTTOM, _HEIGHT - _TOP - _BOTTOM
        wide = (_WIDTH - _LEFT - _RIGHT) / self.bins
        least, most = float(np.min(self.values)), float(np.max(self.values))
        parts = [
            f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{escape(self.title)}">',
            f'<text x="0" y="12" class="chart-title">{escape(self.title)}</text>',
            f'<text x="0" y="26" class="tick">{least:.3g}{self._unit} to {most:.3g}{self._unit}, '
            f"median {float(np.median(self.values)):.3g}{self._unit}</text>",
        ]
        for k, share in enumerate(shares):
            if share > 0:
                tall = max(0.6, room * share / top)
                parts.append(
                    f'<rect x="{_LEFT + k * wide:.2f}" y="{floor - tall:.2f}" width="{0.86 * wide:.2f}" '
                    f'height="{tall:.2f}" fill="{self.colour}" opacity="0.85"/>'
                )
        parts += [self._bound(value, floor) for value in self.bounds]
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{floor}" y2="{floor}" class="grid"/>')
        for tick in self.ticks:
            parts.append(
                f'<text x="{self._x(tick):.1f}" y="{_HEIGHT - 9}" class="tick" text-anchor="middle">'
                f"{tick:g}{self._unit}</text>"
            )
        return "\n".join([*parts, "</svg>"])

    @property
    def _unit(self) -> str:
        return escape(self.unit)

    def _x(self, value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (value - self.low) / (self.high - self.low)

    def _bound(self, value: float, floor: float) -> str:
        x = self._x(value)
        return (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{floor}" stroke="#b3540b" stroke-width="1" '
            f'stroke-dasharray="3 2"/>'
        )
