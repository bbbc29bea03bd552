"""From fields to the scan: every tissue painted in order, the later over the earlier.

Order is priority: fat first, then wall and bones, organs, what is inside them, vessels last. Slow random fields
give each tissue its texture; the mean of a tissue stays what the table says.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anatomy.progress import Progress
from sample_scans import bowel, imaging, vessels
from sample_scans.canvas import KEEP, Canvas
from sample_scans.hounsfield import hu
from sample_scans.shapes import Field, smooth_max
from sample_scans.torso import Body
from sample_scans.trees import VesselTree

NAMES = (
    "body", "subcutaneous_fat", "torso_fat", "muscle", "ribs", "costal_cartilages", "sternum", "vertebrae",
    "intervertebral_discs", "spinal_cord", "lung_right", "lung_left", "heart", "esophagus", "liver", "liver_tumour",
    "portal_vein", "hepatic_vein", "portal_vein_and_splenic_vein", "gallbladder", "spleen", "stomach", "pancreas",
    "duodenum", "small_bowel", "colon", "kidney_right", "kidney_left", "kidney_pelvis_right", "kidney_pelvis_left",
    "adrenal_gland_right", "adrenal_gland_left", "aorta", "inferior_vena_cava", "diaphragm",
)  # fmt: skip
VALUE = {name: value for value, name in enumerate(NAMES, start=1)}


class Painter:
    """Paints one body onto a canvas, group by group."""

    def __init__(self, body: Body, rng: np.random.Generator) -> None:
        self.body = body
        self.rng = rng
        self.canvas = Canvas(body.frame, hu("air"))
        # One texture for all soft tissue: blotches of a centimetre or two, 2.5 HU.
        self.mottle = (2.0 * body.frame.noise(22.0, rng) + 1.5 * body.frame.noise(9.0, rng)).astype(
            np.float32
        )

    def tissue(self, name: str, table_name: str, field: Field | None = None, texture: float = 1.0) -> None:
        """Paint an organ with its table value and texture under its label."""
        field = self.body[name] if field is None else field
        self.canvas.paint(field, hu(table_name) + np.float32(texture) * self.mottle, VALUE[name])

    def trunk(self) -> None:
        """Table, skin, fat, muscle wall."""
        body, canvas = self.body, self.canvas
        back = float(body.frame.y[(body["skin"] < 0).any(axis=(0, 2))].max())
        shell, foam = imaging.table_fields(body.frame, back)
        canvas.paint(shell, hu("table_shell"))
        canvas.paint(foam, hu("table_foam"))
        canvas.paint(body["skin"], hu("skin"), VALUE["body"])
        septa = np.clip(1.0 - np.abs(body.n14 + 0.6 * body.n8) / 0.12, 0.0, 1.0)
        fat = hu("subcutaneous_fat") + 0.8 * self.mottle + 22.0 * septa
        canvas.paint(body["skin"] + np.float32(1.9), fat.astype(np.float32), VALUE["subcutaneous_fat"])
        inside = np.maximum(body["wall"], -body["cavity"])
        canvas.paint(body["wall"], hu("torso_fat") + self.mottle, VALUE["torso_fat"])
        for layer in self._wall_layers(inside):
            canvas.paint(layer, hu("muscle") + 1.5 * self.mottle, VALUE["muscle"])
        visceral = hu("torso_fat") + 1.2 * self.mottle + 5.0 * body.n8
        canvas.paint(body["cavity"] + np.float32(1.5), visceral.astype(np.float32), VALUE["torso_fat"])
        self._deep_muscles()

    def _wall_layers(self, inside: Field) -> list[Field]:
        """The muscle sheets of the wall between cavity and subcutaneous fat, with the fat planes between them."""
        body = self.body
        x, y, z = body.coords
        depth = body["cavity"] + 0.6 * body.n30  # mm outwards from the cavity
        total = np.maximum(depth - body["wall"], 4.0)
        part = depth / total
        chest = np.clip((z - 128.0 - 0.55 * (y + 40.0)) / 30.0, 0.0, 1.0)
        border = 60.0 + 0.05 * (z - 60.0) + 2.0 * body.n60
        middle = 0.5 * border + 0.6 + 0.6 * chest
        belly = np.abs((np.abs(x) - middle) / (0.5 * border - 1.4)) ** 3
        belly = (belly + np.abs((part - 0.5 - 0.16 * chest) / (0.46 - 0.14 * chest)) ** 3) ** np.float32(
            1 / 3
        )
        rectus = (belly - 1.0) * 0.45 * total + 0.4 * body.n14
        front = (y < -45.0) & (np.abs(x) < border + 1.5)
        sheets = [np.where(front, np.maximum(rectus, inside), np.float32(30.0)).astype(np.float32)]
        plane = (
            0.25 + 0.4 * np.clip(body.n30 + 0.5, 0.0, 1.6) - 0.5 * np.clip((y - 5.0) / 35.0, 0.0, 1.0)
        )  # half the fat between two sheets, mm
        wander = 0.035 * body.n60
        for low, high in ((0.0, 0.28), (0.28, 0.58), (0.58, 1.0)):
            low_mm = (low + (low > 0) * wander) * total + plane
            high_mm = (high + (high < 1) * wander) * total - plane
            sheet = np.maximum(low_mm - depth, depth - high_mm)
            sheet = sheet + 2.2 * chest * np.clip(body.n14 + 0.5 * body.n30, 0.0, None) * (low > 0.1)
            sheet = np.where(front, np.float32(30.0), sheet + 0.3 * body.n14)
            sheets.append(np.maximum(sheet, inside).astype(np.float32))
        return sheets

    def _deep_muscles(self) -> None:
        body, canvas = self.body, self.canvas
        streaks = np.clip(1.0 - np.abs(body.n14 + 0.4 * body.n30) / 0.16, 0.0, 1.0)
        meat = (hu("muscle") + 1.5 * self.mottle - 55.0 * streaks).astype(np.float32)
        fascia = np.abs(body["erector"] - np.float32(0.6)) - np.float32(0.55)
        canvas.paint(np.maximum(fascia, body["wall"]), hu("torso_fat"), VALUE["torso_fat"])
        canvas.paint(body["erector"], meat, VALUE["muscle"])
        for name in ("lumborum", "psoas"):
            canvas.paint(body[name], hu("muscle") + 1.5 * self.mottle, VALUE["muscle"])

    def bones(self) -> None:
        """Spine, ribs, cartilages, sternum: a cortical shell around cancellous bone."""
        body, canvas = self.body, self.canvas
        self.tissue("intervertebral_discs", "disc", body["discs"])
        canvas.paint(body["canal"], hu("canal") + 2.0 * self.mottle, VALUE["spinal_cord"])
        cancellous = (hu("cancellous_bone") + 22.0 * body.n8 + 14.0 * body.n14).astype(np.float32)
        for name, shell in (("vertebrae", 1.25), ("ribs", 1.15), ("sternum", 1.0)):
            cortex = (hu("cortical_bone") * (0.86 if name != "ribs" else 0.95) + 70.0 * body.n14).astype(
                np.float32
            )
            canvas.paint(body[name], cortex, VALUE[name])
            canvas.paint(body[name] + np.float32(shell), cancellous)
        canvas.paint(body["cartilage"], hu("costal_cartilage") + 6.0 * body.n8, VALUE["costal_cartilages"])
        specks = np.maximum(body["cartilage"] + np.float32(0.6), 1.0 - (body.n8 * body.n14 - 0.9))
        canvas.paint(specks.astype(np.float32), 320.0)

    def chest(self) -> None:
        """Diaphragm, lungs with their vessels, heart."""
        body, canvas = self.body, self.canvas
        side = body["thorax_side"]
        sheet = np.maximum(np.maximum(side - np.float32(3.0), -side), body["room"])
        canvas.paint(sheet, hu("muscle") + self.mottle, VALUE["diaphragm"])
        wall = np.maximum(np.abs(body["room"] + 1.4) - 1.4, np.float32(-1) * side - 1.0)
        canvas.paint(np.maximum(wall, side - 45.0), hu("muscle") + self.mottle, VALUE["diaphragm"])
        dependent = 55.0 * np.clip((body.coords[1] - 20.0) / 60.0, -1.0, 1.0)
        air = (hu("lung") + dependent + 14.0 * body.n30).astype(np.float32)
        for name in ("lung_right", "lung_left"):
            canvas.paint(body[name], air, VALUE[name])
        self._lung_vessels()
        canvas.paint(body["heart"], hu("heart_muscle") + self.mottle, VALUE["heart"])
        for name in ("left_ventricle", "right_heart"):
            canvas.paint(body[name], hu("heart_blood") + self.mottle)
        self.tissue("esophagus", "bowel_wall")
        canvas.paint(body["esophagus"] + np.float32(4.6), -300.0)

    def _lung_vessels(self) -> None:
        starts, ends, radii = [], [], []
        for side in (-1.0, 1.0):
            root = np.array([side * 42.0, 14.0, 300.0])
            for _ in range(64):
                tip = np.array(
                    [side * self.rng.uniform(35, 125), self.rng.uniform(-80, 82), self.rng.uniform(125, 240)]
                )
                knee = root + (tip - root) * self.rng.uniform(0.35, 0.6) + self.rng.normal(0, 9, 3)
                wide = self.rng.uniform(1.3, 2.4)
                path = np.array(
                    [
                        root,
                        0.55 * root + 0.45 * knee,
                        knee,
                        0.5 * (knee + tip) + self.rng.normal(0, 4, 3),
                        tip,
                    ]
                )
                path = self.body.frame.to_world(path)
                calibre = wide * np.array([1.5, 1.2, 0.9, 0.6, 0.35])
                for _twig in range(2):
                    at = self.rng.uniform(0.2, 0.9)
                    branch = path[2] + at * (path[4] - path[2])
                    starts.append(branch[None])
                    ends.append((branch + self.rng.normal(0, 17, 3))[None])
                    radii.append(np.array([[0.55 * wide, 0.35 * wide]]))
                starts.append(path[:-1])
                ends.append(path[1:])
                radii.append(np.stack([calibre[:-1], calibre[1:]], axis=1))
        r = np.vstack(radii)
        lungs = np.array([VALUE["lung_right"], VALUE["lung_left"]], dtype=np.uint8)
        self.canvas.vessels(
            np.vstack(starts), np.vstack(ends), r[:, 0].copy(), r[:, 1].copy(), 60.0, KEEP, lungs
        )

    def fat_vessels(self) -> None:
        """Mesenteric and retroperitoneal vessels, ureters."""
        canvas = self.canvas
        canvas.lines(bowel.mesenteric_twigs(self.body), hu("vein"))
        branches = vessels.small_branches(self.body)
        for kind in ("artery", "vein"):
            canvas.lines([(points, radii) for points, radii, of in branches if of == kind], hu(kind))
        ureters = [
            (self.body.lines["ureter_" + side], np.array([1.8, 1.5, 1.5])) for side in ("left", "right")
        ]
        canvas.lines(ureters, hu("bowel_wall"))

    def hollow_organs(self) -> None:
        """Bowel, duodenum, stomach: wall, contents, and gas on top."""
        body, canvas = self.body, self.canvas
        y = body.coords[1]
        for name, wall in (("small_bowel", 2.6), ("duodenum", 2.4)):
            self.tissue(name, "bowel_wall", texture=1.5)
            lumen = body[name] + np.float32(wall) + 1.6 * np.maximum(body.n8, 0.0)
            canvas.paint(lumen.astype(np.float32), (hu("fluid") + 14.0 + 6.0 * body.n14).astype(np.float32))
            gas = np.maximum(lumen + 0.5, 5.0 * (1.9 - body.n30 - 0.012 * (-40.0 - y)))
            canvas.paint(gas.astype(np.float32), hu("gas"))
        self.tissue("colon", "bowel_wall", texture=1.5)
        inside = body["colon_inside"]
        bubbles = np.clip(2.6 * (body.n8 + 0.7 * body.n14 - 0.55), 0.0, 1.0)
        stool = (hu("stool") + 12.0 * body.n14 - 420.0 * bubbles).astype(np.float32)
        canvas.paint(inside, stool)
        gas = smooth_max(
            inside + np.float32(0.4), (y + 70.0 + 9.0 * body.n60 + 3.0 * body.n14).astype(np.float32), 3.0
        )
        canvas.paint(gas, hu("gas"))
        self.tissue("stomach", "bowel_wall", texture=1.5)
        inside = body["stomach_inside"]
        chyme = (hu("fluid") + 13.0 * np.tanh(1.5 * body.n30 + body.n14) + 9.0).astype(np.float32)
        canvas.paint(inside, chyme)
        level = (y - float(body.facts["stomach_level_y"])).astype(np.float32)  # type: ignore[arg-type]
        canvas.paint(np.maximum(inside, level), hu("gas"))

    def solid_organs(self) -> None:
        """Kidneys, adrenals, spleen, pancreas, gallbladder, liver, great vessels, crura."""
        body, canvas = self.body, self.canvas
        canvas.paint(body["crura"], hu("muscle") + self.mottle, VALUE["diaphragm"])
        for side in ("right", "left"):
            canvas.paint(body["sinus_" + side], hu("torso_fat") + 2.0 * self.mottle, VALUE["torso_fat"])
            self.tissue("kidney_" + side, "kidney_cortex")
            medulla = np.maximum(body["medulla_" + side], body["kidney_" + side] + np.float32(1.0))
            canvas.paint(medulla, hu("kidney_medulla") + self.mottle)
            self.tissue("kidney_pelvis_" + side, "kidney_pelvis")
            self.tissue("adrenal_gland_" + side, "adrenal")
        clefts = np.clip(1.0 - np.abs(body.n8 - 0.5 * body.n14) / 0.16, 0.0, 1.0)
        clefts -= clefts[body["pancreas"] < 0.0].mean()
        canvas.paint(
            body["pancreas"],
            (hu("pancreas") + self.mottle - 26.0 * clefts).astype(np.float32),
            VALUE["pancreas"],
        )
        self.tissue("spleen", "spleen")
        self.tissue("liver", "liver")
        canvas.paint(body["gallbladder"], hu("gallbladder_wall"), VALUE["gallbladder"])
        canvas.paint(body["gallbladder"] + np.float32(1.4), hu("gallbladder") + 0.5 * self.mottle)
        canvas.paint(
            body["inferior_vena_cava"], hu("inferior_vena_cava") + self.mottle, VALUE["inferior_vena_cava"]
        )
        canvas.paint(body["aorta"], hu("aorta") + 0.5 * self.mottle, VALUE["aorta"])
        plaque = np.maximum(np.abs(body["aorta"] + 0.6) - 0.7, 6.0 * (2.0 - body.n14 - 0.5 * body.n30))
        canvas.paint(plaque.astype(np.float32), hu("calcification"))
        canvas.paint(body["portal_vein_and_splenic_vein"], hu("portal_vein") + 0.5 * self.mottle,
                     VALUE["portal_vein_and_splenic_vein"])  # fmt: skip

    def liver_inside(self, tumours: list[Field], trees: dict[str, VesselTree]) -> None:
        """Tumours with a faint rim, then both vessel trees, inside the liver only."""
        body, canvas = self.body, self.canvas
        for field in tumours:
            canvas.paint(field, hu("tumour_rim") + self.mottle, VALUE["liver_tumour"])
            core = (hu("tumour") + self.mottle + 2.0 * body.n8).astype(np.float32)
            canvas.paint(field + np.float32(2.0), core)
            deep = float(field.min())
            canvas.paint(field - np.float32(0.62 * deep) + 1.5 * body.n8, core - np.float32(9.0))
        liver = np.array([VALUE["liver"]], dtype=np.uint8)
        fat = np.array([VALUE["torso_fat"]], dtype=np.uint8)
        trunks = {"portal_vein": "portal_vein_and_splenic_vein", "hepatic_vein": "inferior_vena_cava"}
        for name, tree in trees.items():
            starts, ends, radii = tree.segments
            canvas.vessels(starts, ends, radii, radii, hu(name), VALUE[name], liver)
            # A trunk that crosses the fat of the hilum belongs to the vessel it comes from.
            big = radii > 3.0
            canvas.vessels(starts[big], ends[big], radii[big], radii[big], hu(name), VALUE[trunks[name]], fat)


def render(
    body: Body,
    tumours: list[Field],
    trees: dict[str, VesselTree],
    rng: np.random.Generator,
    progress: Progress,
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """The finished scan and its labels, both (slices, size, size)."""
    painter = Painter(body, rng)
    stages = (
        painter.trunk, painter.bones, painter.chest, painter.fat_vessels, painter.hollow_organs, painter.solid_organs,
        lambda: painter.liver_inside(tumours, trees),
    )  # fmt: skip
    for number, stage in enumerate(stages):
        progress("painting tissues", number / len(stages))
        stage()
    canvas = painter.canvas
    progress("blur and noise", 0.0)
    imaging.blur(canvas.hu, body.frame)
    imaging.add_noise(canvas.hu, body.frame, body["skin"], rng)
    return imaging.finish(canvas.hu, body.frame), canvas.label
