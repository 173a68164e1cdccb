"""Text to HTML and Markdown: the one place where what was measured or named is escaped."""

import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import mistune
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from pipeline.errors import one_line
from pipeline.reporting.tables import Table

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
)


def breakable(text: Markup | str) -> Markup:
    """Let a path or a name wrap between its parts; text that is no markup is escaped."""
    between = r"::|(?<=[^<\d])/|_|(?<=[a-z])[.,](?=[a-z])"
    return Markup(re.sub(f"({between})", r"\1<wbr>", str(escape(text))))


TEMPLATES.filters["breakable"] = breakable


class Link(NamedTuple):
    """A link of a page to another one."""

    text: str
    address: str


def page(
    title: str, body: Markup, sections: Sequence[dict[str, str]], links: Sequence[Link]
) -> str:
    """A whole page, which runs no script and loads nothing.

    Args:
        title: Title of the window.
        body: Markup that `part`, `to_html` and `Prose` made.
        sections: Id and text of each heading that the page lists at its top.
        links: Links to other pages.
    """
    return TEMPLATES.get_template("page.html").render(
        title=title, sections=sections, links=links, body=body
    )


def part(name: str, **values: Any) -> Markup:
    """A macro of templates/parts.html, filled in with `values`; these are text and are escaped."""
    macro = getattr(TEMPLATES.get_template("parts.html").module, name)
    return macro(**values)


def slug(text: str) -> str:
    """The text as the name of an anchor in the page."""
    return re.sub(r"\W+", "-", text).strip("-")


class Prose(mistune.HTMLRenderer):
    """Markdown to HTML, with a link to each heading; HTML in it is shown, not obeyed.

    Args:
        plugins: Plugins of mistune, for syntax beyond CommonMark.
    """

    def __init__(self, *plugins: str) -> None:
        super().__init__(escape=True)
        self.sections: list[dict[str, str]] = []
        """Headings of the second level: id and text."""
        self._markdown = mistune.create_markdown(renderer=self, plugins=plugins)

    def render(self, markdown: str) -> Markup:
        """The Markdown as HTML."""
        return Markup(self._markdown(markdown))

    def heading(self, text: str, level: int, **attributes: Any) -> str:
        """A heading; its text is HTML already."""
        words = Markup(text).striptags()
        place = self.place(words)
        if level == 2:
            self.sections.append({"id": place, "text": words})
        return part("heading", level=level, text=words, id=place) + "\n"

    def codespan(self, text: str) -> str:
        """Code in a line of text, which may wrap between the parts of a path or a name."""
        return breakable(Markup(super().codespan(text)))

    def place(self, heading: str) -> str:
        """The name of a heading's anchor, for links to the heading."""
        return slug(heading)


def to_markdown(table: Table) -> str:
    """The shown table in GitHub's Markdown, where a group stands before its columns' names."""
    head = [" ".join(names).strip() for names in _headings(table)]
    lines = [head, *_cells(table)]
    escaped = [[re.sub(r"[\\`*<&|$\[]", r"\\\g<0>", cell) for cell in line] for line in lines]
    escaped.insert(1, ["---"] * len(head))
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)


def to_html(table: Table, caption: str, *, prose: bool, **values: Any) -> Markup:
    """The shown table in HTML, where columns of numbers are aligned right.

    Args:
        table: What to show.
        caption: Text above it.
        prose: Whether its columns hold sentences and share the width of the page.
        values: The other arguments of the macro `table`.
    """
    headings, cells = _headings(table), _cells(table)
    columns = [
        {"name": name, "kind": "n" if all(_is_number(line[place]) for line in cells) else "t"}
        for place, (_, name) in enumerate(headings)
    ]
    groups = [(name, len(list(of))) for name, of in groupby(group for group, _ in headings)]
    return part(
        "table",
        caption=caption,
        groups=groups,
        columns=columns,
        lines=cells,
        prose=prose,
        **values,
    )


def _headings(table: Table) -> Sequence[tuple[str, str]]:
    """Group and name of each column."""
    columns = table.shown.columns
    return [(column[0], column[1]) if columns.nlevels == 2 else ("", column) for column in columns]


def _cells(table: Table) -> list[list[str]]:
    """The shown lines, with control characters escaped."""
    return [[one_line(cell) for cell in line] for line in table.shown.astype(str).to_numpy()]


def _is_number(text: str) -> bool:
    number = r"[+±<-]?\s?[\d.,e+-]*(\s?(±|to|of|x)\s?[+-]?[\d.,]*)?"
    return re.fullmatch(f"not run|{number}", text) is not None
