"""Tables of the documentation that tests make: a section is compared with what was just measured.

A section of a page in `docs/` lies between `<!-- begin NAME -->` and `<!-- end NAME -->`. The test that measures it
calls `check_section`; with the environment variable ORGANTWIN_WRITE_DOCS set, the section is written instead.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def check_section(page: str, name: str, text: str) -> None:
    """Hold a section of docs/`page` to `text`, or write it there when ORGANTWIN_WRITE_DOCS is set."""
    path = DOCS / page
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
    content = path.read_text(encoding="utf-8")
    assert begin in content, f"docs/{page} has no section '{name}'"
    assert end in content, f"the section '{name}' of docs/{page} does not end"
    before, rest = content.split(begin, 1)
    found, after = rest.split(end, 1)
    if os.environ.get("ORGANTWIN_WRITE_DOCS"):
        path.write_text(before + begin + text.strip() + "\n" + end + after, encoding="utf-8")
        return
    assert found.strip() == text.strip(), (
        f"the section '{name}' of docs/{page} is not what the tests measured: "
        "run them once with ORGANTWIN_WRITE_DOCS=1 and look at the difference"
    )
