"""The window: the organ in the middle, its structures on the left, the scan on the right, the numbers below.

A timer asks the solver's process for its newest frame about sixty times a second and never waits for it, so the
window answers whatever the solver does. Everything drawn comes from the toolkit-free `Scene` and `SliceModel`.
"""

from __future__ import annotations

import signal
import sys
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QAction, QCloseEvent, QKeySequence
from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QMainWindow,
    QMenu,
    QSizePolicy,
    QToolBar,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from twin.errors import TwinError
from viewer import quality, theme
from viewer.camera import VIEWS
from viewer.desktop.engine import Engine
from viewer.desktop.organ_view import OrganView
from viewer.desktop.panels import Banner, NumberStrip, StructureList, label, named
from viewer.desktop.slice_view import SliceView
from viewer.desktop.style import SHEET
from viewer.scene import Scene
from viewer.slices import PLANES, SliceModel
from viewer.tools.grasping import GraspTool

_POLL_MS = 16
# Numbers that change with every frame cannot be read: they are written so often a second, outlines so often.
_WRITE_EVERY_S = 0.1
_OUTLINE_EVERY_S = 0.2
_SAID_FOR_S = 6.0
_HINT = "Drag tissue to grasp and pull · Shift or wheel while dragging: in depth · Right-drag: turn · Wheel: nearer"
_HINT_HELD = "Drag the amber patch to pull on · Space: let go · R: back to rest"


class RehearsalWindow(QMainWindow):
    """The window on one case.

    Parameters
    ----------
    case : Case
        The case to rehearse on.
    """

    def __init__(self, case: Any) -> None:
        super().__init__()
        self.engine = Engine(case)  # first, so that the solver builds while the window does
        self.case = case
        self.scene = Scene(case, hud=False)
        self.tool = GraspTool(self.scene, self.engine)
        self.slices = SliceModel(case.scan, case.labels)
        self._written = self._outlined = self._said_until = 0.0
        self._new = False
        self.setWindowTitle(f"{case.title} – {theme.WORDMARK}")
        self.setStyleSheet(SHEET)
        self.resize(1500, 920)
        self._build()
        self._add_actions()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._tick)
        self._timer.start(_POLL_MS)

    # Parts ---------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.view = OrganView(self.scene, self.tool)
        self.view.grasped.connect(self._show_grasped_slices)
        self.banner = Banner()
        self.banner.restart.connect(self._restart)
        middle = named(QWidget(), "room")
        stack = QGridLayout(middle)
        stack.setContentsMargins(0, 0, 0, 0)
        stack.addWidget(self.view, 0, 0, 3, 1)
        stack.addWidget(self.banner, 1, 0, Qt.AlignmentFlag.AlignHCenter)
        stack.setRowMinimumHeight(0, 20)
        stack.setRowStretch(2, 1)
        self.structures = StructureList(self.scene, _volumes(self.case))
        self.structures.changed.connect(self._structure_changed)
        self.strip = NumberStrip()
        self.strip.hint.setText(_HINT)
        room = named(QWidget(), "room")
        across = QHBoxLayout()
        across.setSpacing(0)
        across.addWidget(self.structures)
        across.addWidget(middle, 1)
        across.addWidget(self._slice_column())
        down = QVBoxLayout(room)
        down.setContentsMargins(0, 0, 0, 0)
        down.setSpacing(0)
        down.addLayout(across, 1)
        down.addWidget(self.strip)
        self.setCentralWidget(room)
        self.scene.attach(self.view, quality.suited_to(self.view))

    def _slice_column(self) -> QWidget:
        column = named(QWidget(), "panel")
        column.setFixedWidth(330)
        rows = QVBoxLayout(column)
        rows.setContentsMargins(10, 10, 10, 10)
        rows.setSpacing(6)
        top = QHBoxLayout()
        top.addWidget(label("Scan", "heading"))
        top.addStretch(1)
        self.windows = QComboBox()
        self.windows.addItems([window.name for window in self.slices.windows])
        self.windows.setToolTip("Grey window (W for the next)")
        self.windows.currentIndexChanged.connect(self._choose_window)
        top.addWidget(self.windows)
        rows.addLayout(top)
        self.planes = {plane: SliceView(self.slices, plane) for plane in PLANES}
        for plane in self.planes.values():
            plane.moved.connect(self._slices_moved)
            rows.addWidget(plane, 1)
        return column

    def _add_actions(self) -> None:
        bar = QToolBar()
        bar.setMovable(False)
        bar.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
        self.addToolBar(bar)
        self.grasp_action = self._action(
            bar, "Grasp", "G", self._set_grasping, "Left drag takes hold of tissue"
        )
        self.grasp_action.setCheckable(True)
        self.grasp_action.setChecked(True)
        self.release_action = self._action(bar, "Release", "Space", self.release, "Open the jaws")
        self._action(bar, "Reset", "R", self.reset, "Back to the shape of the scan")
        bar.addSeparator()
        bar.addWidget(self._view_button())
        self._action(bar, "Glass", "X", self._toggle_glass, "See through the organ, or not")
        bar.addSeparator()
        self._action(bar, "Screenshot", "Ctrl+P", self._ask_screenshot, "Save a picture of the window")
        self._action(
            bar, "Save rehearsal", "Ctrl+S", self._ask_log, "Save what was done as a script to replay"
        )
        gap = QWidget()
        gap.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        bar.addWidget(gap)
        bar.addWidget(label(f"{theme.RESEARCH_NOTICE}  "))
        for key, slot in (("W", self._next_window), ("Ctrl+Q", self.close)):
            action = QAction(self)
            action.setShortcut(QKeySequence(key))
            action.triggered.connect(slot)
            self.addAction(action)

    def _action(self, bar: QToolBar, name: str, key: str, slot: Any, tip: str) -> QAction:
        action = QAction(name, self)
        action.setShortcut(QKeySequence(key))
        action.setToolTip(f"{tip} ({key})")
        action.triggered.connect(slot)
        bar.addAction(action)
        return action

    def _view_button(self) -> QToolButton:
        menu = QMenu(self)
        for number, name in enumerate(VIEWS, start=1):
            action = QAction(f"{name.capitalize()}", self)
            action.setShortcut(QKeySequence(str(number)))
            action.triggered.connect(lambda _checked=False, view=name: self.view.look_from(view))
            menu.addAction(action)
            self.addAction(action)
        button = QToolButton()
        button.setText("View  ▾")
        button.setToolTip("Where the eye stands (1 to 7)")
        button.setMenu(menu)
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        return button

    # The clock -----------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Take what the solver has; called about sixty times a second."""
        failure, busy = self.engine.failure, self.engine.busy
        if failure:
            self.banner.failed(failure)
            self.strip.say_state("stopped", theme.BAD)
        elif busy is not None:
            self.banner.starting(*busy)
            self.strip.say_state("starting", theme.MUTED)
        else:
            self.banner.hide()
        self.view.solver_ready = not failure and busy is None
        frame = self.engine.new_frame()
        for sentence in self.engine.refusals():
            self.say(sentence)
            if frame is None or self.tool.name not in frame.forces_N:
                self.tool.forget()
        if frame is not None:
            self.scene.update(frame)
            self._new = True
            self.view.update()
        now = perf_counter()
        if now - self._written >= _WRITE_EVERY_S:
            self._written = now
            self._write_numbers(running=not failure and busy is None)
        if self._new and now - self._outlined >= _OUTLINE_EVERY_S:
            self._outlined, self._new = now, False
            self._outline()

    def _write_numbers(self, running: bool) -> None:
        if running:
            self.strip.write(self.scene.reading, self.engine.step_ms, self.view.frames_per_s)
        self.release_action.setEnabled(self.tool.holds)
        if perf_counter() > self._said_until:
            self.strip.hint.setText(_HINT_HELD if self.tool.holds else _HINT)

    def _outline(self) -> None:
        """Draw where the tissue is now over the slices of the scan, while anything is moved."""
        grasper = self.scene.graspers.get(self.tool.name)
        moved = self.scene.reading.displacement_mm > 0.5
        skins = [skin for skin in self.scene.skins.values() if skin.carried] if moved else []
        for name, plane in self.planes.items():
            plane.tissue = [(s.name, self.slices.cut_surface(name, s.points, s.triangles)) for s in skins]
            plane.tool_mm = None if grasper is None else grasper.tip_mm
            plane.update()

    def say(self, sentence: str) -> None:
        """Show a sentence in the strip for some seconds."""
        self._said_until = perf_counter() + _SAID_FOR_S
        self.strip.hint.setText(sentence)

    # What a person does --------------------------------------------------------------------------------

    def release(self) -> None:
        """Open the jaws."""
        if not self.tool.release():
            self.say("Nothing is held.")
        self.view.update()

    def reset(self) -> None:
        """Back to the shape of the scan, nothing held."""
        self.tool.forget()
        self.engine.reset()
        self.view.update()

    def _restart(self) -> None:
        self.engine.restart()

    def _set_grasping(self, on: bool) -> None:
        self.view.grasping = on

    def _toggle_glass(self) -> None:
        slider = self.structures.sliders[self.scene.main]
        slider.setValue(100 if slider.value() < 100 else round(100 * theme.PARENCHYMA.opacity))

    def _structure_changed(self, name: str) -> None:
        hidden = {structure for structure, chosen in self.scene.appearance.items() if not chosen.visible}
        for plane in self.planes.values():
            plane.hidden = hidden
            plane.update()
        self.view.update()

    def _show_grasped_slices(self) -> None:
        if self.tool.hit is not None:
            self.slices.move_to(self.tool.hit.rest_mm)
            self._slices_moved()

    def _slices_moved(self) -> None:
        for plane in self.planes.values():
            plane.refresh()
        self._outline()

    def _choose_window(self, number: int) -> None:
        self.slices.window = self.slices.windows[number]
        for plane in self.planes.values():
            plane.refresh()

    def _next_window(self) -> None:
        self.windows.setCurrentIndex((self.windows.currentIndex() + 1) % self.windows.count())

    # Files ---------------------------------------------------------------------------------------------

    def _ask_screenshot(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self, "Save a screenshot", f"{_stamp()}.png", "PNG picture (*.png)"
        )
        if path:
            self.save_screenshot(path)

    def save_screenshot(self, path: str) -> None:
        """Write a picture of the whole window as PNG and say so."""
        written = self.grab().save(path, "PNG")
        self.say(
            f"Saved {Path(path).name}." if written else f"{path} cannot be written; choose another place."
        )

    def _ask_log(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self, "Save the rehearsal", f"{_stamp()}.json", "Rehearsal (*.json)"
        )
        if path:
            self.save_log(path)

    def save_log(self, path: str) -> None:
        """Write what was done as a script for `organtwin replay`, and say so."""
        try:
            acts = self.engine.save_log(path)
        except TwinError as error:
            self.say(str(error))
            return
        self.say(f"Saved {acts} acts to {Path(path).name}.")

    def closeEvent(self, event: QCloseEvent) -> None:
        """End the solver's process and give the graphics memory back before Qt takes the window apart."""
        self._timer.stop()
        self.engine.close()
        self.view.close()
        super().closeEvent(event)


def _volumes(case: Any) -> dict[str, float]:
    """Volume of each structure in the label map, ml, from the case's facts; else of the mesh."""
    entries = getattr(case, "facts", {}).get("structures")
    if entries:
        return {entry["name"]: float(entry["volume_ml"]) for entry in entries}
    return dict(case.organ.volumes_ml)


def _stamp() -> str:
    return datetime.now().strftime("rehearsal %Y-%m-%d %H.%M")


def run(case: Any) -> None:
    """Open the window and stay until it is closed; Ctrl-C in the terminal closes it too."""
    app = QApplication.instance() or QApplication(sys.argv[:1])
    window = RehearsalWindow(case)
    # The timer lets Python look at signals between Qt's events.
    before = signal.signal(signal.SIGINT, lambda *_: window.close())
    try:
        window.show()
        app.exec()
    finally:
        window.close()
        signal.signal(signal.SIGINT, before)
