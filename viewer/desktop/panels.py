"""Panels around the picture: the structures, the numbers, and what the solver has to say."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from viewer import theme
from viewer.scene import Reading, Scene


def named[Widget: QWidget](widget: Widget, name: str) -> Widget:
    """Give a widget the name by which the style sheet knows it."""
    widget.setObjectName(name)
    return widget


def label(text: str, name: str = "muted") -> QLabel:
    """A line of text in one of the style sheet's ways."""
    return named(QLabel(text), name)


# A frame that shows tissue on its way is old after so long, s.
_OLD_S = 0.2


class StructureList(QScrollArea):
    """Every structure with its colour, its volume, whether it is shown, and how much light it stops."""

    changed = Signal(str)

    def __init__(self, scene: Scene, volumes_ml: dict[str, float], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.scene = scene
        self.boxes: dict[str, QCheckBox] = {}
        self.sliders: dict[str, QSlider] = {}
        panel = named(QWidget(), "panel")
        rows = QVBoxLayout(panel)
        rows.setContentsMargins(16, 14, 16, 14)
        rows.setSpacing(4)
        rows.addWidget(label("Structures", "heading"))
        rows.addSpacing(6)
        for name in sorted(scene.skins, key=lambda n: (n != scene.main, theme.title_of(n))):
            rows.addLayout(self._row(name, volumes_ml.get(name)))
            rows.addSpacing(8)
        rows.addStretch(1)
        self.setWidget(panel)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFixedWidth(266)

    def _row(self, name: str, volume_ml: float | None) -> QVBoxLayout:
        colour = theme.hex_colour(theme.colour_of(name))
        chosen = self.scene.appearance[name]
        box = QCheckBox(theme.title_of(name))
        box.setChecked(chosen.visible)
        box.setMinimumWidth(0)
        box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        box.setToolTip(f"Show or hide: {theme.title_of(name).lower()}")
        box.setStyleSheet(f"QCheckBox::indicator:checked {{ background: {colour}; border-color: {colour}; }}")
        box.toggled.connect(lambda on: self._show(name, on))
        volume = label("" if volume_ml is None else _millilitres(volume_ml))
        slider = QSlider(Qt.Orientation.Horizontal)
        slider.setRange(0, 100)
        slider.setValue(round(100 * chosen.opacity))
        slider.setToolTip("Opacity")
        slider.valueChanged.connect(lambda value: self._fade(name, value))
        self.boxes[name], self.sliders[name] = box, slider
        top = QHBoxLayout()
        top.addWidget(box, 1)
        top.addWidget(volume)
        row = QVBoxLayout()
        row.setSpacing(5)
        row.addLayout(top)
        row.addWidget(slider)
        return row

    def _show(self, name: str, visible: bool) -> None:
        self.scene.show_structure(name, visible=visible)
        self.sliders[name].setEnabled(visible)
        self.changed.emit(name)

    def _fade(self, name: str, percent: int) -> None:
        self.scene.show_structure(name, opacity=percent / 100.0)
        self.changed.emit(name)


def _millilitres(value: float) -> str:
    return f"{value:.0f} ml" if value >= 100 else f"{value:.1f} ml"


class NumberStrip(QWidget):
    """The numbers of the present frame, each with its unit."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("strip")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedHeight(78)
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(20, 8, 20, 10)
        self._row.setSpacing(22)
        self.force = self._number("Force", "N", "Pull of the grasper on the tissue it holds", big=True)
        self.moved = self._number("Displacement", "mm", "Farthest that any tissue has moved from the scan")
        self.distance = self._number(
            "Distance to equilibrium",
            "mm",
            "Estimated distance of the shown shape to the fully converged one",
        )
        self.solver = self._number("Solver", "ms a step", "Time the solver took for its last step")
        self.pictures = self._number("Picture", "frames/s", "Pictures drawn in the last second")
        right = QVBoxLayout()
        self.state = QLabel("", alignment=Qt.AlignmentFlag.AlignRight)
        self.state.setToolTip(
            "converged: at equilibrium; approaching: getting there; stale: no longer improving. Residual: forces out "
            "of balance over the forces in play."
        )
        self.hint = label("", "hint")
        self.hint.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.hint.setMinimumWidth(0)
        self.hint.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        right.setSpacing(4)
        right.addStretch(1)
        right.addWidget(self.state)
        right.addWidget(self.hint)
        self._row.addLayout(right, 1)
        self.write(Reading(), 0.0, 0.0)
        self.say_state("starting", theme.MUTED)

    def _number(self, title: str, unit: str, tip: str, big: bool = False) -> QLabel:
        value = label("", "force" if big else "number")
        line = QHBoxLayout()
        line.setSpacing(5)
        line.addWidget(value, 0, Qt.AlignmentFlag.AlignBaseline)
        line.addWidget(label(unit, "unit"), 0, Qt.AlignmentFlag.AlignBaseline)
        line.addStretch(1)
        place = QWidget()
        place.setMinimumWidth(128 if big else 112)
        place.setToolTip(tip)
        column = QVBoxLayout(place)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(label(title))
        column.addStretch(1)
        column.addLayout(line)
        self._row.addWidget(place)
        return value

    def write(self, reading: Reading, step_ms: float, pictures_per_s: float, age_s: float = 0.0) -> None:
        """Write a frame's numbers; its age only where it matters, while the tissue is still on its way."""
        self.force.setText(f"{reading.force_N:.2f}")
        self.moved.setText(f"{reading.displacement_mm:.1f}")
        self.distance.setText(f"{reading.distance_mm:.2f}")
        self.solver.setText(f"{step_ms:.0f}")
        self.pictures.setText(f"{pictures_per_s:.0f}")
        words = f"{reading.state} · residual {reading.residual:.0e}"
        if reading.state != "converged" and age_s > _OLD_S:
            words += f" · {age_s:.1f} s old"
        self.say_state(words, theme.STATE_COLOURS.get(reading.state, theme.MUTED))

    def say_state(self, words: str, colour: str) -> None:
        """Write the state with a dot of its colour."""
        self.state.setText(f'<span style="color:{colour}">●</span> &nbsp;{words}')


class Banner(QFrame):
    """What the solver has to say, over the picture: that it starts, or why it stopped."""

    restart = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("banner")
        self.setFixedWidth(420)
        self._words = QLabel("")
        self._words.setWordWrap(True)
        self._bar = QProgressBar()
        self._bar.setRange(0, 1000)
        self._bar.setTextVisible(False)
        self._button = QPushButton("Restart the solver")
        self._button.setToolTip("Start the solver again and go on where it stopped")
        self._button.clicked.connect(self.restart)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(18, 14, 18, 14)
        rows.setSpacing(10)
        rows.addWidget(self._words)
        rows.addWidget(self._bar)
        rows.addWidget(self._button, 0, Qt.AlignmentFlag.AlignLeft)

    @property
    def words(self) -> str:
        """What it says."""
        return self._words.text()

    def starting(self, stage: str, fraction: float) -> None:
        """Say that the solver gets ready, and how far it is."""
        self._dress(bad=False)
        self._say(f"Solver starting … {stage}")
        self._bar.setValue(round(1000 * fraction))
        self._bar.show()
        self._button.hide()
        self.show()

    def failed(self, message: str) -> None:
        """Say why the solver stopped, with a way on."""
        self._dress(bad=True)
        self._say(f"The solver has stopped. {message}")
        self._bar.hide()
        self._button.show()
        self.show()

    def _say(self, words: str) -> None:
        if words != self._words.text():
            self._words.setText(words)
            self._words.setMinimumHeight(self._words.heightForWidth(self.width() - 36))

    def _dress(self, bad: bool) -> None:
        if self.property("bad") != bad:
            self.setProperty("bad", bad)
            self.style().unpolish(self)
            self.style().polish(self)
