"""Fill README.md from the committed results, and draw its picture of the method.

reads   results/, reports/published.csv, reports/notes.csv
writes  what stands between <!-- verdict -->, or <!-- results -->, and the next <!-- end --> of
        README.md, and docs/method.png; with --check nothing, and the exit code is 1 if either is
        not what the results give
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from pipeline.artifacts import read_text, write_bytes, write_text
from pipeline.errors import UserError, run
from pipeline.reporting import overview
from pipeline.reporting.figures.method import method
from pipeline.reporting.figures.style import png, use_style
from pipeline.reporting.markup import to_markdown
from pipeline.reporting.results import Results
from pipeline.reporting.sources import FileNote, PublishedFigure, read_lines

PICTURED = "digits"
EVIDENCE = "Evidence behind each verdict"


def main() -> None:
    """Entry point of `make readme`."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.readme",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="change nothing, name what differs")
    parser.add_argument("--root", type=Path, default=Path(), help="the project")
    arguments = parser.parse_args()
    root = arguments.root
    tables = overview.load_tables(root / "results")
    readme, picture = root / "README.md", root / "docs" / "method.png"
    found, expected = read_text(readme), blocks(root, tables)
    stale = [f"block {name} of {readme}" for name in expected if old(found, name) != expected[name]]
    drawn = draw(tables)
    if not picture.is_file() or picture.read_bytes() != drawn:
        stale.append(str(picture))
    if arguments.check:
        if stale:
            raise UserError(f"{' and '.join(stale)}: not what the results give; run make readme")
        return
    for name, content in expected.items():
        found = found.replace(_marked(name, old(found, name)), _marked(name, content))
    write_text(readme, found)
    write_bytes(picture, drawn)
    print(f"written: {', '.join(stale) or 'nothing, all is up to date'}")


def blocks(root: Path, tables: Sequence[Results]) -> dict[str, str]:
    """The content of each block of README.md, by its name, as Markdown."""
    published = read_lines(root / "reports" / "published.csv", PublishedFigure)
    notes = read_lines(root / "reports" / "notes.csv", FileNote)
    remarks = [*overview.remarks(tables, notes), *overview.left_out(root / "results")]
    return {
        "verdict": _paragraphs(
            [
                to_markdown(overview.outcomes(tables, published)),
                f"<details><summary>{EVIDENCE}</summary>",
                to_markdown(overview.claims(tables, published)),
                "</details>",
            ]
        ),
        "results": _paragraphs(
            [
                to_markdown(overview.every_top1(tables)),
                overview.top1_caption(tables),
                "\n".join(f"- {each}" for each in remarks),
            ]
        ),
    }


def old(readme: str, name: str) -> str:
    """Current content of a block of README.md.

    Raises:
        UserError: the block is missing or occurs more than once.
    """
    found = re.findall(rf"^<!-- {name} -->\n(.*?)^<!-- end -->$", readme, re.DOTALL | re.MULTILINE)
    if len(found) != 1:
        raise UserError(
            f"README.md: has {len(found)} blocks <!-- {name} --> ... <!-- end -->, must have 1"
        )
    return found[0]


def draw(tables: Sequence[Results]) -> bytes:
    """The picture of the method as PNG, with weights of the first network of PICTURED.

    Raises:
        UserError: there are no results of PICTURED, or they lack a row that is drawn.
    """
    results = next((each for each in tables if each.dataset == PICTURED), None)
    if results is None:
        raise UserError(f"results/{PICTURED}: no such results, and the picture shows their weights")
    use_style()
    return png(method(results, results.networks[0]))


def _marked(name: str, content: str) -> str:
    return f"<!-- {name} -->\n{content}<!-- end -->"


def _paragraphs(parts: Sequence[str]) -> str:
    """Surround each part with blank lines: GitHub reads no Markdown on lines next to HTML."""
    return "".join(f"\n{part.strip()}\n" for part in parts if part) + "\n"


if __name__ == "__main__":
    run(main)
