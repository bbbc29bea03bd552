"""ActPanel and Findings: what an act asks for, over the picture; and what came of the operation so far, beside it."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QDoubleSpinBox, QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from viewer.desktop.panels import label, named
from viewer.tools.pointing import Plan

_SHOWN_EVENTS = 6


class ActPanel(QFrame):
    """The act being told: its name, its numbers, what to do next, and a way out."""

    cancelled = Signal()
    go = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("banner")
        self._rows = QVBoxLayout(self)
        self._rows.setContentsMargins(16, 12, 16, 12)
        self._title = label("", "heading")
        self._hint = QLabel("")
        self._rows.addWidget(self._title)
        self._rows.addWidget(self._hint)
        self._fields: dict[str, QDoubleSpinBox] = {}
        self._numbers = QWidget()
        self._number_rows = QVBoxLayout(self._numbers)
        self._number_rows.setContentsMargins(0, 4, 0, 4)
        self._rows.addWidget(self._numbers)
        buttons = QHBoxLayout()
        self._go = QPushButton("Do it")
        self._go.clicked.connect(self.go.emit)
        cancel = QPushButton("Cancel")
        cancel.setToolTip("Back to grasping (Esc)")
        cancel.clicked.connect(self.cancelled.emit)
        buttons.addWidget(self._go)
        buttons.addWidget(cancel)
        self._rows.addLayout(buttons)
        self.hide()

    def ask(self, plan: Plan) -> None:
        """Show what a plan asks for."""
        self._title.setText(plan.name)
        self._go.setVisible(not plan.hints)
        while (item := self._number_rows.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.deleteLater()
        self._fields = {}
        for number in plan.numbers:
            row = QWidget()
            line = QHBoxLayout(row)
            line.setContentsMargins(0, 0, 0, 0)
            field = QDoubleSpinBox()
            field.setDecimals(1)
            field.setToolTip(f"{number.low:g} to {number.high:g} {number.unit}")
            field.setRange(number.low, number.high)
            field.setSingleStep(number.step)
            field.setValue(number.value)
            field.setSuffix(f" {number.unit}")
            line.addWidget(label(number.name))
            line.addStretch(1)
            line.addWidget(field)
            self._number_rows.addWidget(row)
            self._fields[number.name] = field
        self._numbers.setVisible(bool(plan.numbers))
        self.say(plan.hints[0] if plan.hints else "")
        self.show()

    def say(self, hint: str) -> None:
        """What to do next."""
        self._hint.setText(hint)
        self._hint.setVisible(bool(hint))

    @property
    def numbers(self) -> dict[str, float]:
        """What is entered, by name."""
        return {name: field.value() for name, field in self._fields.items()}


class Findings(QWidget):
    """What the operation costs so far, and what a surgeon must know, newest first."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        named(self, "panel")
        rows = QVBoxLayout(self)
        rows.setContentsMargins(14, 6, 12, 12)
        rows.setSpacing(4)
        rows.addWidget(label("Operation", "heading"))
        self._measures = QLabel("")
        self._measures.setWordWrap(True)
        self._measures.setTextFormat(Qt.TextFormat.RichText)
        rows.addWidget(self._measures)
        self._events = QLabel("")
        self._events.setWordWrap(True)
        self._events.setTextFormat(Qt.TextFormat.RichText)
        rows.addWidget(self._events)
        self.hide()

    @property
    def words(self) -> str:
        """All that is written."""
        return f"{self._measures.text()}\n{self._events.text()}"

    def write(self, measures: dict[str, Any], events: list[dict[str, Any]]) -> None:
        """Write the numbers that differ from those of an untouched organ, and the newest events."""
        lines = operation_lines(measures)
        self._measures.setText("<br>".join(lines))
        self._measures.setVisible(bool(lines))
        newest = [event["text"] for event in reversed(events)][:_SHOWN_EVENTS]
        self._events.setText("<br>".join(f"• {text}" for text in newest))
        self._events.setVisible(bool(newest))
        self.setVisible(bool(lines or newest))


def operation_lines(measures: dict[str, Any]) -> list[str]:
    """The measures of an operation that are worth a line, each with its unit."""
    lines = []
    for organ, volume in measures.get("organs", {}).items():
        name = organ.replace("_", " ")
        if volume["specimen_ml"] > 0.05:
            lines.append(
                f"{name}: <b>{volume['remnant_ml']:.0f} ml</b> remains ({volume['remnant_percent']:.0f} %), "
                f"{volume['specimen_ml']:.1f} ml taken out"
            )
        if volume["ischaemic_ml"] > 0.5:
            lines.append(f"{name}: {volume['ischaemic_ml']:.0f} ml without inflow")
        if volume["congested_ml"] > 0.5:
            lines.append(f"{name}: {volume['congested_ml']:.0f} ml without outflow")
    bleeding = measures.get("bleeding", {})
    if bleeding.get("flow_ml_min", 0.0) > 0 or bleeding.get("lost_ml", 0.0) > 0.5:
        lines.append(
            f"bleeding <b>{bleeding['flow_ml_min']:.0f} ml/min</b>, {bleeding['lost_ml']:.0f} ml lost"
        )
    return lines
