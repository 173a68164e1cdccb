"""The static site: all tables on one page, the reports, the pages of docs/ and the ledger.

A page lies in the site where its source lies in the project, so that the links between them hold.
"""

import base64
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from markupsafe import Markup

from pipeline.artifacts import atomic_folder, read_text, write_csv, write_text
from pipeline.errors import UserError
from pipeline.reporting import notebook, overview
from pipeline.reporting.context import ledger_shown
from pipeline.reporting.formulas import draw
from pipeline.reporting.markup import Link, Prose, page, part, to_html
from pipeline.reporting.sources import Choice, FileNote, PublishedFigure, read_lines
from pipeline.reporting.tables import Table
from pipeline.reporting.training_cost import CAPTION as COST_CAPTION
from pipeline.reporting.training_cost import DATA as COST_DATA
from pipeline.reporting.training_cost import PAGE as COST_PAGE
from pipeline.reporting.training_cost import cost_table

INDEX, LEDGER, PICTURE = Path("index.html"), Path("ledger.html"), Path("docs/method.png")
README = Path("README.md")
FOUND = re.compile(r"<!-- found -->\n(.*?)<!-- end -->", re.DOTALL)
"""Pattern of the findings at the beginning of README.md."""
SOURCES = Path("reports")
TITLE = "A reproduction of BD-BNN"
ABOUT = (
    "Bimodal-Distributed Binarized Neural Networks (Rozen, Kimhi, Chmiel, Mendelson and Baskin, "
    "arXiv 2204.02004) as a DVC pipeline: a full-precision teacher is trained, then fine-tuned "
    "with a kurtosis loss that is meant to make its weights bimodal, and a student with 1-bit "
    "weights and activations mimics it."
)
PICTURE_ALT = "The stages of the method, and the weights of one layer after each training"
ABOUT_PICTURE = (
    "Drawn from the first seed of the digits in results/digits; make readme draws it again."
)
ABOUT_LEDGER = (
    "Each choice that the method leaves open: what the paper, the code its authors released and "
    "the field do, what this project does, and why. [inferred] marks what none of the three "
    "settles. Of the paper, its abstract and one figure were read; an empty cell is not confirmed."
)
DRAWN_BY = {"stage": "site", "redraw": "make site"}


class Document(Prose):
    """A page of docs/: Markdown with GitHub's tables, anchors and formulas, without its comments.

    Args:
        root: Folder of the project.
        source: The page's file in it.
    """

    def __init__(self, root: Path, source: Path) -> None:
        super().__init__("table", "math")
        self._root = root
        self._source = source
        self.files: set[Path] = set()
        """Files of the project that it links to and that are not pages of the site."""

    def place(self, heading: str) -> str:
        """GitHub's name for the anchor of a heading."""
        return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """A link; one to a file of the project leads to its page or its copy in the site.

        Raises:
            UserError: it leads to no file of the project.
        """
        name, hash_mark, fragment = url.partition("#")
        if ":" not in url and name:
            target = self._file(name)
            address = target.with_suffix(".html") if target.suffix == ".md" else target
            if target == README:
                address = INDEX
            elif address == target:
                self.files.add(target)
            url = f"{_relative(address, self._source)}{hash_mark}{fragment}"
        return super().link(text, url, title)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """A picture of the project, embedded in the page.

        Raises:
            UserError: it is not a file of the project.
        """
        return _picture(self._root / self._file(url), text)

    def table(self, text: str) -> str:
        """A table that scrolls where it is wider than the page."""
        return Markup('<div class="table"><table>\n{}</table></div>\n').format(Markup(text))

    def block_html(self, html: str) -> str:
        """Nothing for a comment, which GitHub does not show either."""
        return "" if html.startswith("<!--") else super().block_html(html)

    def inline_math(self, text: str) -> str:
        """A formula in a line.

        Raises:
            UserError: it cannot be drawn.
        """
        try:
            return draw(text)
        except ValueError as error:
            raise UserError(f"{self._source}: cannot draw the formula {text.strip()}") from error

    def block_math(self, text: str) -> str:
        """A formula by itself, which scrolls where it is wider than the page."""
        return Markup('<p class="formula">{}</p>\n').format(
            Markup(self.inline_math(text.replace(r"\frac", r"\dfrac")))
        )

    def block_code(self, code: str, info: str | None = None) -> str:
        """Code; GitHub's fence "math" is a formula."""
        return self.block_math(code) if info == "math" else super().block_code(code, info)

    def _file(self, name: str) -> Path:
        path = Path(os.path.normpath(self._source.parent / name))
        if not (self._root / path).is_file():
            raise UserError(f"{self._source}: links to {name}, which is no file of the project")
        return path


def build(root: Path, out: Path) -> None:
    """Build the site. Equal inputs give equal bytes, wherever they lie.

    Args:
        root: Folder of the project, whose results/, reports/ and docs/ are read.
        out: Folder of the site.

    Raises:
        UserError: an input is missing or malformed, or `out` holds anything; nothing is written.
    """
    reports = sorted(path.relative_to(root) for path in root.glob("reports/*/report.ipynb"))
    documents = sorted(path.relative_to(root) for path in root.glob("docs/*.md"))
    pages = {
        "Overview": INDEX,
        **{f"Report: {path.parent.name}": path.with_suffix(".html") for path in reports},
        **{_title(root / path): path.with_suffix(".html") for path in documents},
        "Ledger": LEDGER,
    }
    with atomic_folder(out, INDEX.name) as built:
        copied = {SOURCES / "fidelity.csv", *_index(root, built, pages)}
        _ledger(root, built, _links(pages, LEDGER))
        for path in reports:
            _report(root, built, path, _links(pages, path))
        for path in documents:
            document = Document(root, path)
            body = document.render(read_text(root / path))
            content = page(_title(root / path), body, document.sections, _links(pages, path))
            write_text(built / path.with_suffix(".html"), content)
            copied |= document.files
        for path in sorted(copied - set(pages.values())):
            (built / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / path, built / path)


def _index(root: Path, built: Path, pages: dict[str, Path]) -> set[Path]:
    """Write the first page, and return the files of the project that it links to."""
    tables = overview.load_tables(root / "results")
    published = read_lines(root / SOURCES / "published.csv", PublishedFigure)
    notes = read_lines(root / SOURCES / "notes.csv", FileNote)
    links = _links(pages, INDEX)
    sections: list[dict[str, str]] = []

    def heading(text: str) -> Markup:
        sections.append({"id": text.lower(), "text": text})
        return part("heading", level=2, text=text, id=text.lower())

    remarks = [*overview.remarks(tables, notes), *overview.left_out(root / "results")]
    readme = Document(root, README)
    found = FOUND.search(read_text(root / README))
    if found is None:
        raise UserError(f"{README}: has no place between <!-- found --> and <!-- end -->")
    body = [
        part("heading", level=1, text=TITLE, id="title"),
        part("text", content=ABOUT),
        readme.render(found[1]),
        part("bullets", title="The tables:", items=list(overview.described(tables, notes))),
        heading("Verdict"),
        _table(
            built,
            "outcomes",
            overview.outcomes(tables, published),
            overview.OUTCOMES_CAPTION,
            prose=True,
        ),
        heading("Results"),
        _table(built, "top1", overview.every_top1(tables), overview.top1_caption(tables)),
        part("bullets", title="Before you quote these numbers:", items=remarks) if remarks else "",
        heading("Evidence"),
        _table(
            built,
            "claims",
            overview.claims(tables, published),
            overview.CLAIMS_CAPTION,
            prose=True,
        ),
        heading("Method"),
        _picture(root / PICTURE, PICTURE_ALT),
        part("text", content=ABOUT_PICTURE),
        heading("Cost"),
        _table(built, "cost", cost_table(tables), COST_CAPTION),
        heading("Pages"),
        part("contents", links=links[1:]),
    ]
    write_text(built / INDEX, page(TITLE, Markup("\n").join(body), sections, links))
    return readme.files


def _ledger(root: Path, built: Path, links: Sequence[Link]) -> None:
    lines = [each.model_dump() for each in read_lines(root / SOURCES / "fidelity.csv", Choice)]
    data = pd.DataFrame(lines)
    table = Table(data, ledger_shown(data).rename(columns={"parameters": "Parameters"}))
    files = [("CSV", str(SOURCES / "fidelity.csv"))]
    body = part("heading", level=1, text="Ledger", id="title") + to_html(
        table, ABOUT_LEDGER, prose=True, folded="", id="ledger", files=files, **DRAWN_BY
    )
    write_text(built / LEDGER, page("Ledger", body, [], links))


def _report(root: Path, built: Path, path: Path, links: Sequence[Link]) -> None:
    """The page of an executed notebook, beside copies of the files that it links to."""
    for part_of_it in ("tables", "figures"):
        shutil.copytree(root / path.parent / part_of_it, built / path.parent / part_of_it)
    for name in (COST_PAGE, COST_DATA):
        if (root / path.parent / name).is_file():  # the study has none
            shutil.copyfile(root / path.parent / name, built / path.parent / name)
    content = nbformat.reads(read_text(root / path), as_version=4)
    html = notebook.to_html(content, root / path.parent, links, Document(root, path))
    write_text(built / path.with_suffix(".html"), html)


def _table(built: Path, name: str, table: Table, caption: str, *, prose: bool = False) -> Markup:
    file = f"tables/{name}.csv"
    write_csv(built / file, table.data)
    values: dict[str, Any] = {"folded": "", "id": f"table-{name}", "files": [("CSV", file)]}
    return to_html(table, caption, prose=prose, **values, **DRAWN_BY)


def _picture(path: Path, alt: str) -> Markup:
    """A PNG embedded in the page, whose policy lets it load no file."""
    try:
        content = base64.b64encode(path.read_bytes()).decode()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; make readme draws the picture") from error
    return Markup('<img alt="{}" src="data:image/png;base64,{}">').format(alt, content)


def _title(path: Path) -> str:
    found = re.search(r"^# (.+)$", read_text(path), re.MULTILINE)
    if found is None:
        raise UserError(f"{path}: has no title, a line that begins with '# '")
    return found[1]


def _links(pages: dict[str, Path], path: Path) -> list[Link]:
    return [Link(text, _relative(address, path)) for text, address in pages.items()]


def _relative(target: Path, page: Path) -> str:
    return os.path.relpath(target, page.parent)
