"""Charts: a line over time as SVG text, in the report's own type, without a plotting library's look.

The picture is plain markup that goes straight into a page: it scales, prints sharply, and loads nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

import numpy as np
from numpy.typing import NDArray

_WIDTH, _HEIGHT = 720.0, 190.0
# Room above the peak for its value and the names of the acts.
_HEADROOM = 1.2
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 12.0, 26.0, 26.0


@dataclass(frozen=True)
class Span:
    """A stretch of time with a name: one act of the rehearsal."""

    start_s: float
    end_s: float
    name: str


@dataclass(frozen=True)
class LineChart:
    """One quantity over time.

    Parameters
    ----------
    title : str
        What is drawn, with its unit.
    time_s : ndarray, shape (k,)
        Seconds, increasing.
    values : ndarray, shape (k,)
        The quantity, not negative.
    unit : str
        Unit written at the peak.
    colour : str
        Hex colour of the line.
    spans : list of Span
        Named stretches, drawn as bands.
    """

    title: str
    time_s: NDArray[np.floating]
    values: NDArray[np.floating]
    unit: str
    colour: str
    spans: list[Span] = field(default_factory=list)

    def svg(self) -> str:
        """Return the chart as an SVG element."""
        time, values = np.asarray(self.time_s, dtype=float), np.asarray(self.values, dtype=float)
        end = float(time[-1]) if len(time) and time[-1] > 0 else 1.0
        ticks = nice_ticks(_HEADROOM * float(values.max()) if len(values) else 1.0)
        parts = [
            f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{escape(self.title)}">',
            f'<text x="0" y="12" class="chart-title">{escape(self.title)}</text>',
        ]
        parts += [self._band(span, end, odd=bool(i % 2)) for i, span in enumerate(self.spans)]
        parts += [self._level(tick, ticks[-1]) for tick in ticks]
        seconds = nice_ticks(end, count=8)
        parts += [self._second(second, end, seconds[1]) for second in seconds if second <= end * 1.0001]
        if len(time):
            parts += self._line(time, values, end, ticks[-1])
        return "\n".join([*parts, "</svg>"])

    def _line(
        self, time: NDArray[np.float64], values: NDArray[np.float64], end: float, top: float
    ) -> list[str]:
        points = [f"{_x(t, end):.1f},{_y(v, top):.1f}" for t, v in zip(time, values, strict=True)]
        floor = _y(0.0, top)
        area = " ".join(
            [f"{_x(time[0], end):.1f},{floor:.1f}", *points, f"{_x(time[-1], end):.1f},{floor:.1f}"]
        )
        peak = int(values.argmax())
        x, y = _x(time[peak], end), _y(values[peak], top)
        anchor = "end" if x > _WIDTH - 120 else "start"
        shift = 4 if anchor == "end" else -4
        return [
            f'<polygon points="{area}" fill="{self.colour}" opacity="0.10"/>',
            f'<polyline points="{" ".join(points)}" fill="none" stroke="{self.colour}" stroke-width="1.8" '
            'stroke-linejoin="round"/>',
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{self.colour}"/>',
            f'<text x="{x + shift:.1f}" y="{y - 8:.1f}" class="chart-peak" text-anchor="{anchor}" '
            f'fill="{self.colour}">{values[peak]:.2f} {escape(self.unit)}</text>',
        ]

    def _band(self, span: Span, end: float, odd: bool) -> str:
        left, right = _x(span.start_s, end), _x(min(span.end_s, end), end)
        height = _HEIGHT - _TOP - _BOTTOM
        width = max(right - left, 0.5)
        shade = (
            f'<rect x="{left:.1f}" y="{_TOP}" width="{width:.1f}" height="{height}" class="band{int(odd)}"/>'
        )
        if right - left < 7 * len(span.name):
            return shade
        middle = (left + right) / 2
        place = f'x="{middle:.1f}" y="{_TOP + 11}"'
        return f'{shade}<text {place} class="chart-act" text-anchor="middle">{escape(span.name)}</text>'

    @staticmethod
    def _level(value: float, top: float) -> str:
        y = _y(value, top)
        return (
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
            f'<text x="{_LEFT - 7}" y="{y + 3.5:.1f}" class="tick" text-anchor="end">{value:g}</text>'
        )

    @staticmethod
    def _second(value: float, end: float, step: float) -> str:
        unit = " s" if value + step > end * 1.0001 else ""
        x = _x(value, end)
        return f'<text x="{x:.1f}" y="{_HEIGHT - 9}" class="tick" text-anchor="middle">{value:g}{unit}</text>'


def nice_ticks(top: float, count: int = 4) -> list[float]:
    """Round values from 0 up to at least `top`, about `count` steps of 1, 2 or 5 times a power of ten."""
    top = max(top, 1e-3)
    raw = top / count
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(float(m * power) for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    steps = int(np.ceil(top / step - 1e-9))
    return [round(i * step, 10) for i in range(steps + 1)]


def _x(time: float, end: float) -> float:
    return float(_LEFT + (_WIDTH - _LEFT - _RIGHT) * time / end)


def _y(value: float, top: float) -> float:
    return float(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / top)
