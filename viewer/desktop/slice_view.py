"""SliceView: one plane of the scan as a radiologist sees it, with outlines and the crossing of the other planes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QLineF, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF, QWheelEvent
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from viewer import theme
from viewer.slices import SliceModel

# Shown around the labelled tissue, mm.
_AROUND_MM = 40.0


class SliceView(QWidget):
    """A plane of a `SliceModel`, painted.

    Parameters
    ----------
    model : SliceModel
        The scan, shared by the three views.
    plane : str
        'axial', 'coronal' or 'sagittal'.
    """

    moved = Signal()

    def __init__(self, model: SliceModel, plane: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = model
        self.plane = plane
        self.tissue: list[tuple[str, NDArray[np.float64]]] = []
        self.tool_mm: NDArray[np.float64] | None = None
        self.hidden: set[str] = set()
        self._pixels = model.picture(plane)
        self._near = QRectF()
        self.show_all(False)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(QSize(200, 130))
        self.setCursor(Qt.CursorShape.CrossCursor)
        self.setToolTip(
            f"{plane.capitalize()} slice: wheel to scroll, click to cross here, double-click for all"
        )

    def refresh(self) -> None:
        """Take the present slice and window from the model."""
        self._pixels = self.model.picture(self.plane)
        self.update()

    def show_all(self, whole: bool) -> None:
        """Show the whole slice, or the part around what is labelled."""
        rows, columns = self._pixels.shape
        self._whole = whole
        left, right, top, bottom = self.model.extent(self.plane, _AROUND_MM)
        near = QRectF(left, top, right - left, bottom - top)
        self._near = QRectF(-0.5, -0.5, columns, rows) if whole else near
        self.update()

    def _frame(self) -> QRectF:
        """Where the shown part lies in the widget, its millimetres undistorted."""
        width, height = self.model.pixel_mm(self.plane)
        across, down = self._near.width() * width, self._near.height() * height
        scale = min(self.width() / across, self.height() / down)
        size = QPointF(across * scale, down * scale)
        return QRectF((self.width() - size.x()) / 2, (self.height() - size.y()) / 2, size.x(), size.y())

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint slice, outlines, crossing and letters."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor("#000000"))
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        rows, columns = self._pixels.shape
        frame = self._frame()
        picture = QImage(self._pixels.data, columns, rows, columns, QImage.Format.Format_Grayscale8)
        painter.drawImage(frame, picture, self._near.translated(0.5, 0.5))
        painter.save()
        painter.setClipRect(frame)
        painter.translate(frame.topLeft())
        painter.scale(frame.width() / self._near.width(), frame.height() / self._near.height())
        painter.translate(-self._near.topLeft())
        self._paint_outlines(painter)
        self._paint_crossing(painter, rows, columns)
        painter.restore()
        self._paint_words(painter)
        painter.end()

    def _paint_outlines(self, painter: QPainter) -> None:
        moved = {name for name, segments in self.tissue if len(segments)}
        for contour in self.model.outlines(self.plane):
            if contour.structure in self.hidden:
                continue
            painter.setPen(_pen(contour.structure, 1.2 if moved else 1.5, 190 if moved else 255))
            for line in contour.lines:
                painter.drawPolyline(QPolygonF([QPointF(x, y) for x, y in line]))
        for name, segments in self.tissue:
            if name not in self.hidden:
                painter.setPen(_pen(name, 1.8, 255))
                painter.drawLines([QLineF(*start, *end) for start, end in segments])

    def _paint_crossing(self, painter: QPainter, rows: int, columns: int) -> None:
        x, y = self.model.to_picture(self.plane, self.model.index.astype(float))
        pen = QPen(QColor(theme.ACCENT), 1.0)
        pen.setCosmetic(True)
        colour = pen.color()
        colour.setAlpha(120)
        pen.setColor(colour)
        painter.setPen(pen)
        painter.drawLines([QLineF(x, -0.5, x, rows), QLineF(-0.5, y, columns, y)])
        if self.tool_mm is not None:
            tx, ty = self.model.to_picture(self.plane, self.model.to_index(self.tool_mm))
            dot = QPen(QColor(theme.HELD), 7.0)
            dot.setCosmetic(True)
            dot.setCapStyle(Qt.PenCapStyle.RoundCap)
            painter.setPen(dot)
            painter.drawPoint(QPointF(tx, ty))

    def _paint_words(self, painter: QPainter) -> None:
        left, right, top, bottom = tuple(self.model.letters(self.plane))
        box = QRectF(self.rect()).adjusted(7, 5, -7, -5)
        middle = Qt.AlignmentFlag.AlignVCenter
        centre = Qt.AlignmentFlag.AlignHCenter
        words = f"{self.plane.capitalize()}  {self.model.depth_mm(self.plane):.0f} mm"
        places = (
            (middle | Qt.AlignmentFlag.AlignLeft, left),
            (middle | Qt.AlignmentFlag.AlignRight, right),
            (centre | Qt.AlignmentFlag.AlignTop, top),
            (centre | Qt.AlignmentFlag.AlignBottom, bottom),
            (Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop, words),
        )
        # A dark edge keeps the letters readable on bright tissue.
        for colour, steps in (("#000000", ((1, 1), (-1, 1), (1, -1), (-1, -1))), (theme.TEXT, ((0, 0),))):
            painter.setPen(QColor(colour))
            for dx, dy in steps:
                for alignment, text in places:
                    painter.drawText(box.translated(dx, dy), alignment, text)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Scroll by whole slices; with Ctrl by ten."""
        steps = 1 if event.angleDelta().y() > 0 else -1
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            steps *= 10
        self.model.scroll(self.plane, steps)
        self.moved.emit()
        event.accept()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Move the other planes to the place pointed at."""
        if event.button() == Qt.MouseButton.LeftButton:
            self._cross_at(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Follow the cursor with the other planes while the button is down."""
        if event.buttons() & Qt.MouseButton.LeftButton:
            QToolTip.hideText()
            self._cross_at(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Change between the whole slice and the part around what is labelled."""
        self.show_all(not self._whole)

    def to_widget(self, point_mm: NDArray[np.float64]) -> QPointF:
        """Where a point of the patient (LPS mm) is painted in the widget."""
        frame = self._frame()
        x, y = self.model.to_picture(self.plane, self.model.to_index(point_mm))
        across = (x - self._near.left()) / self._near.width() * frame.width()
        down = (y - self._near.top()) / self._near.height() * frame.height()
        return frame.topLeft() + QPointF(across, down)

    def _cross_at(self, event: QMouseEvent) -> None:
        frame = self._frame()
        where = event.position() - frame.topLeft()
        x = self._near.left() + where.x() / frame.width() * self._near.width()
        y = self._near.top() + where.y() / frame.height() * self._near.height()
        self.model.move_to(self.model.from_picture(self.plane, x, y))
        self.moved.emit()


def _pen(structure: str, width: float, alpha: int) -> QPen:
    colour = QColor(theme.hex_colour(theme.colour_of(structure)))
    colour.setAlpha(alpha)
    pen = QPen(colour, width)
    pen.setCosmetic(True)
    return pen
