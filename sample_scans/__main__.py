"""The command `python -m sample_scans`: write a synthetic patient's CT series, labels and description."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from anatomy.errors import AnatomyError
from sample_scans import make_patient, write_dicom

EXAMPLES = """examples:
  python -m sample_scans --seed 1 -o patient1
  python -m sample_scans --seed 7 --size 256 --slice 5 -o quick
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 when all is written, 1 with one sentence on stderr when not."""
    parser = argparse.ArgumentParser(
        prog="python -m sample_scans",
        description="Make a portal-venous CT of the upper abdomen of a patient who does not exist.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=1, help="which patient (default 1)")
    parser.add_argument("--size", type=int, default=512, help="pixels along x and y (default 512)")
    parser.add_argument("--slice", type=float, default=2.5, metavar="MM", help="slice distance (default 2.5)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR",
                        help="new folder: series/, labels.nrrd, description.json")  # fmt: skip
    chosen = parser.parse_args(arguments)
    try:
        _write(chosen)
    except (AnatomyError, OSError) as error:
        print(f"sample_scans: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("sample_scans: stopped", file=sys.stderr)
        return 130
    return 0


def _write(chosen: argparse.Namespace) -> None:
    folder: Path = chosen.output
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise AnatomyError(f"'{folder}' is not an empty folder; name a new one")
    tell = sys.stderr.isatty()

    def progress(stage: str, fraction: float) -> None:
        if tell:
            print(f"\r{stage}: {100 * fraction:3.0f} %   ", end="", file=sys.stderr, flush=True)

    patient = make_patient(chosen.seed, size=chosen.size, slice_mm=chosen.slice, progress=progress)
    waiting = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(waiting, ignore_errors=True)
    try:
        files = write_dicom(patient, waiting / "series", progress)
        patient.labels.write(waiting / "labels.nrrd")
        text = json.dumps(patient.description, indent=2) + "\n"
        (waiting / "description.json").write_text(text, encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        waiting.rename(folder)
    finally:
        shutil.rmtree(waiting, ignore_errors=True)
    if tell:
        print(file=sys.stderr)
    print(f"{len(files)} slices in {folder / 'series'}, truth in {folder / 'labels.nrrd'}")


if __name__ == "__main__":
    sys.exit(main())
