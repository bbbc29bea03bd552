"""What a person does in the window, done by Qt's test events in a process of its own; prints what the window said."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from twin.case import Case
from viewer.desktop import check_window_possible
from viewer.desktop.window import RehearsalWindow
from viewer.tools.pointing import PLANS

PATIENCE_S = 150.0


def spin(app: QApplication, until: Callable[[], object], limit_s: float = PATIENCE_S) -> bool:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        app.processEvents()
        if until():
            return True
        time.sleep(0.005)
    return False


def number(label: object) -> float:
    return float(label.text())  # type: ignore[attr-defined]


def pull(app: QApplication, window: RehearsalWindow) -> dict[str, object]:
    view, said = window.view, {}
    skin = window.scene.skins["liver"]
    front = skin.points[np.argmin(skin.points @ np.array([0.1, 0.9, 0.4]))]
    x, y = (round(v) for v in view.eye().pixel_of(front.astype(float)))
    QTest.mousePress(view, Qt.MouseButton.LeftButton, pos=QPoint(x, y + 4))
    said["holds"] = window.tool.holds
    for step in range(1, 26):
        QTest.mouseMove(view, QPoint(x, y + 4 - 3 * step))
        spin(app, lambda: False, 0.02)
    said["pulled"] = spin(
        app, lambda: number(window.strip.force) > 0.2 and number(window.strip.moved) > 5, 60
    )
    spin(app, lambda: window.scene.reading.state == "converged", 60)
    spin(app, lambda: False, 0.4)
    said["force"], said["moved"] = number(window.strip.force), number(window.strip.moved)
    said["state"] = window.scene.reading.state
    said["outlines"] = sum(len(segments) for _, segments in window.planes["sagittal"].tissue)
    QTest.mouseRelease(view, Qt.MouseButton.LeftButton, pos=QPoint(x, y - 71))
    said["still holds"] = window.tool.holds
    return said


def read_slices(app: QApplication, window: RehearsalWindow) -> list[list[int]]:
    """Grey just inside and just outside the front and the right side of the liver, and where a click crosses."""
    plane = window.planes["axial"]
    rest = window.scene.skins["liver"].rest.astype(float)
    centre = rest.mean(axis=0)
    seen = []
    for whole in (False, True):
        plane.show_all(whole)
        window.slices.move_to(centre)
        window.planes["axial"].moved.emit()
        spin(app, lambda: False, 0.05)
        image = plane.grab().toImage()
        for axis in (0, 1):
            edge = rest[:, axis].min()
            for beside in (6.0, -6.0):
                point = centre.copy() + 7.0 * (np.arange(3) == 1 - axis)  # off the crossing's lines
                point[axis] = edge + beside
                seen.append(image.pixelColor(plane.to_widget(point).toPoint()).red())
        goal = centre + np.array([18.0, -12.0, 0.0])
        QTest.mouseClick(plane, Qt.MouseButton.LeftButton, pos=plane.to_widget(goal).toPoint())
        seen.append(round(float(np.abs(window.slices.position_mm - goal)[:2].max()), 1))
    plane.show_all(False)
    return seen


def turn_camera(app: QApplication, window: RehearsalWindow) -> float:
    before = np.array(window.view.camera.position)
    middle = QPoint(window.view.width() // 2, window.view.height() // 2)
    QTest.mousePress(window.view, Qt.MouseButton.RightButton, pos=middle)
    for step in range(1, 6):
        QTest.mouseMove(window.view, middle + QPoint(12 * step, 0))
        spin(app, lambda: False, 0.05)
    QTest.mouseRelease(window.view, Qt.MouseButton.RightButton, pos=middle + QPoint(60, 0))
    return float(np.linalg.norm(np.array(window.view.camera.position) - before))


def cut(app: QApplication, window: RehearsalWindow) -> dict[str, object]:
    """A stroke of the scalpel over the front, one undo, one redo, and an act that is refused."""
    view, said = window.view, {}
    plan = next(plan for plan in PLANS if plan is not None and plan.name == "Incise")
    window.point(plan)
    said["asked"] = window.asking.isVisible()
    skin = window.scene.skins["liver"]
    front = skin.points[np.argmin(skin.points[:, 1])].astype(float)
    x, y = (round(v) for v in view.eye().pixel_of(front))
    QTest.mousePress(view, Qt.MouseButton.LeftButton, pos=QPoint(x - 40, y))
    for step in range(1, 17):
        QTest.mouseMove(view, QPoint(x - 40 + 5 * step, y))
        spin(app, lambda: False, 0.02)
    QTest.mouseRelease(view, Qt.MouseButton.LeftButton, pos=QPoint(x + 40, y))
    said["cut"] = spin(app, lambda: window.scene.topology != 0, 60)
    said["faces"] = {name: len(face.triangles) for name, face in window.scene.faces.items()}
    spin(app, lambda: "laid open" in window.findings.words, 10)
    said["findings"] = window.findings.words
    spin(app, lambda: window.scene.reading.state == "converged", 30)
    said["asked afterwards"] = window.asking.isVisible()
    window.undo()
    said["undone"] = spin(app, lambda: window.scene.topology == 0 and not window.scene.faces, 30)
    window.redo()
    said["redone"] = spin(app, lambda: window.scene.topology != 0, 60)
    return said


def kill(app: QApplication, window: RehearsalWindow) -> dict[str, object]:
    killed = window.engine.process_id
    os.kill(killed or 0, signal.SIGKILL)
    said: dict[str, object] = {}
    said["back"] = spin(
        app,
        lambda: (
            window.engine.process_id != killed and window.view.solver_ready and not window.banner.isVisible()
        ),
    )
    said["failure"] = window.engine.failure
    return said


def main(case: str, folder: str) -> None:
    check_window_possible()
    app = QApplication([])
    window = RehearsalWindow(Case.open(case))
    window.resize(1100, 700)
    window.show()
    said: dict[str, object] = {"title": window.windowTitle()}
    said["ready"] = spin(app, lambda: window.engine.busy is None or window.engine.failure)
    said["failure"] = window.engine.failure
    spin(app, lambda: window.view.solver_ready, 5)
    said["pull"] = pull(app, window)
    window.save_screenshot(str(Path(folder) / "window.png"))
    said["camera"] = turn_camera(app, window)
    window.release_action.trigger()
    said["returned"] = spin(
        app, lambda: number(window.strip.force) == 0 and number(window.strip.moved) < 1.0, 60
    )
    window.save_log(str(Path(folder) / "log.json"))
    said["slices"] = read_slices(app, window)
    said["cut"] = cut(app, window)
    spin(app, lambda: False, 0.3)
    window.save_screenshot(str(Path(folder) / "cut.png"))
    said["killed"] = kill(app, window)
    solver = window.engine.process_id
    window.close()
    app.processEvents()
    said["solver gone"] = not Path(f"/proc/{solver}").exists()
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
