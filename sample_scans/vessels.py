"""The great vessels outside the liver: aorta with its branches, inferior vena cava, portal and splenic vein.

Calibres: abdominal aorta about 19 mm across (Rogers et al. 2013, Am J Cardiol 111:1510), main portal vein 11 to
13 mm (Weinreb et al. 1982, AJR 139:497).
"""

# ruff: noqa: RUF005 - `array + [x, y, z]` is a shift in millimetres here, not a list joined to a list
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sample_scans.shapes import smooth_min, spline
from sample_scans.torso import Body, spine_y

CAVA = np.array([
    [-19.0, -9.0, -25.0, 10.5], [-21.0, -8.0, 40.0, 11.0], [-24.0, -8.0, 95.0, 11.5], [-27.0, -7.0, 140.0, 11.5],
    [-28.0, -3.0, 180.0, 12.0], [-25.0, -5.0, 206.0, 12.5], [-24.0, -16.0, 226.0, 12.5], [-26.0, -26.0, 242.0, 13.0],
])  # fmt: skip


def build_great_vessels(body: Body) -> None:
    """Aorta, cava, crura of the diaphragm, renal vessels, mesenteric trunks."""
    f, rng = body.frame, body.rng
    zs = np.linspace(-25.0, 285.0, 32)
    sway = rng.uniform(-2.0, 3.0)
    line = np.stack(
        [np.interp(zs, [-25, 60, 150, 220, 285], [4, 6, 8 + sway, 15, 20]), spine_y(zs) - 29.0, zs], axis=1
    )
    line[:, 1] = np.where(zs > 190, line[:, 1] + (zs - 190.0) * 0.09, line[:, 1])
    calibre = float(rng.uniform(0.94, 1.08))
    body.lines["aorta"] = line
    body["aorta"] = f.tube(line, calibre * np.interp(zs, [-25, 80, 150, 285], [8.2, 9.3, 10.8, 12.0]))
    cava = spline(CAVA, 40)
    body.lines["cava"] = cava
    body["inferior_vena_cava"] = f.tube(cava[:, :3], cava[:, 3], (0.88, 1.16, 1.0)) + 0.4 * body.n14
    crura = f.empty()
    for side, wide in ((-1.0, 5.0), (1.0, 4.2)):
        rise = np.linspace(70.0, 196.0, 14)
        x = 7.0 + side * np.interp(rise, [70, 150, 185, 196], [15.0, 16.0, 13.0, 8.0])
        y = spine_y(rise) - np.interp(rise, [70, 150, 196], [20.0, 26.0, 42.0])
        f.tube(np.stack([x, y, rise], axis=1), np.interp(rise, [70, 120, 196], [2.0, 0.8 * wide, wide]),
               (1.1, 0.72, 1.0), into=crura)  # fmt: skip
    rise = np.linspace(168.0, 198.0, 5)
    f.tube(np.stack([7.0 + 0 * rise, spine_y(rise) - 45.0, rise], axis=1), 3.4, (0.5, 1.0, 1.0), into=crura)
    body["crura"] = np.maximum(crura + 0.5 * body.n14, 0.5 - body["aorta"])
    body["aorta"] = np.maximum(body["aorta"], 0.3 - body["vertebrae"])
    body["inferior_vena_cava"] = np.maximum(body["inferior_vena_cava"], 0.3 - body["vertebrae"])


def portal_lines(body: Body) -> dict[str, NDArray[np.float64]]:
    """Centre lines (n, 4) x, y, z, radius of the extrahepatic portal system in the standard body, mm."""
    hilum = body.lines["hilum"]
    radius = float(body.rng.uniform(5.9, 6.6))
    confluence = np.array([-9.0, -22.0, 116.0])
    main = spline(
        np.vstack([np.r_[confluence, radius], [-17.0, -25.0, 131.0, radius], np.r_[hilum, radius]]), 14
    )
    splenic = spline([[-9, -22, 116, 4.8], [14, -28, 122, 4.6], [44, -14, 134, 4.3], [70, 4, 146, 4.0],
                      [86, 14, 155, 3.2]], 28)  # fmt: skip
    mesenteric = spline([[-9, -22, 116, 5.4], [-7, -27, 98, 5.2], [-3, -31, 60, 4.8], [-2, -35, 15, 4.2],
                         [-2, -36, -25, 3.6]], 20)  # fmt: skip
    return {"portal_main": main, "splenic": splenic, "mesenteric": mesenteric}


def build_portal(body: Body) -> None:
    """Main portal, splenic and superior mesenteric vein as one field."""
    f = body.frame
    out = f.empty()
    for name, line in portal_lines(body).items():
        body.lines[name] = line
        f.tube(line[:, :3], line[:, 3], into=out)
    body["portal_vein_and_splenic_vein"] = out


def small_branches(body: Body) -> list[tuple[NDArray[np.float64], NDArray[np.float64], str]]:
    """Arteries and veins too thin for the coarse grid: (points (n, 3) standard body, radii (n,), 'artery'|'vein')."""
    aorta = body.lines["aorta"]
    at = lambda z: np.array([np.interp(z, aorta[:, 2], aorta[:, i]) for i in range(3)])  # noqa: E731
    out: list[tuple[NDArray[np.float64], NDArray[np.float64], str]] = []

    def add(points: list[object], radii: list[float], kind: str) -> None:
        p = np.column_stack([np.array([np.asarray(q, float) for q in points]), radii])
        curve = spline(p, 24)
        out.append((curve[:, :3], curve[:, 3], kind))

    celiac, sma, renal = at(148.0), at(132.0), at(112.0)
    add([celiac, celiac + [0, -22, -3], celiac + [-4, -28, 0]], [3.6, 3.3, 2.6], "artery")
    add([celiac + [0, -22, -3], [-10, -38, 146], [-24, -36, 150]], [2.6, 2.4, 2.0], "artery")
    add([celiac + [0, -22, -3], [30, -28, 140], [50, -6, 150], [66, 2, 146], [88, 18, 164]], [2.8, 2.6, 2.5, 2.4, 1.8],
        "artery")  # fmt: skip
    add([celiac + [0, -20, -2], [20, -30, 170], [34, -26, 180]], [1.6, 1.4, 1.1], "artery")
    add(
        [sma, sma + [0, -16, -8], [5, -30, 90], [7, -34, 50], [8, -38, -25]],
        [3.6, 3.5, 3.4, 3.0, 2.2],
        "artery",
    )
    left, right = body.lines["hilum_left"], body.lines["hilum_right"]
    add([renal, renal + [18, 6, -2], left], [2.8, 2.7, 2.5], "artery")
    add([renal + [0, 2, 2], renal + [-26, 12, 0], right], [2.8, 2.6, 2.4], "artery")
    cava = body.lines["cava"]
    at_cava = np.array([np.interp(110.0, cava[:, 2], cava[:, i]) for i in range(3)])
    add(
        [at_cava, renal + [-4, -15, -1], renal + [17, -8, 0], left + [0, -3, 4]], [4.2, 3.8, 4.4, 3.8], "vein"
    )
    add([at_cava, at_cava + [-14, 8, -4], right + [0, -4, 3]], [4.4, 4.2, 3.8], "vein")
    for side in (-1.0, 1.0):
        add(
            [at(20.0) + [0, -6, 0], at(20.0) + [side * 9, -12, -10], [side * 40, -12, -25]],
            [1.5, 1.4, 1.3],
            "artery",
        )
        add([[side * 44.0, -6.0 + spine_y(20) - 30, -25.0], [side * 40.0, 0.0, 40.0], left if side > 0 else at_cava],
            [1.3, 1.4, 1.5], "vein")  # fmt: skip
    add([[-14, 24, 285], [-12, 14, 200], [-11, 6, 160]], [2.6, 2.2, 1.5], "vein")
    for level in (24.0, 60.0, 94.0, 126.0):
        for side in (-1.0, 1.0):
            add([at(level), [side * 22 + 3, spine_y(level) - 14, level], [side * 27 + 3, spine_y(level) + 8, level]],
                [1.2, 1.1, 0.9], "artery")  # fmt: skip
    return out


def union_of(body: Body, names: tuple[str, ...], k: float = 3.0):  # type: ignore[no-untyped-def]
    """Smooth union of several organs' fields."""
    out = body[names[0]]
    for name in names[1:]:
        out = smooth_min(out, body[name], k)
    return out
