"""Tables as Markdown and as HTML."""

import re
from collections.abc import Sequence
from html import escape
from itertools import groupby

from pipeline.reporting.tables import Table


def to_markdown(table: Table) -> str:
    """The table as text, in GitHub's Markdown; a group goes in front of its columns' names."""
    head = [" ".join(names).strip() for names in _headings(table)]
    lines = [head, ["---"] * len(head), *_cells(table)]
    return "".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines
    )


def to_html(table: Table, caption: str = "", *, prose: bool = False) -> str:
    """The table as text, in HTML; columns of numbers are aligned right.

    Args:
        table: What to show.
        caption: Stands above it.
        prose: Its columns hold sentences and share the width of the page.
    """
    headings, cells = _headings(table), _cells(table)
    kinds = ["n" if all(map(_is_number, column)) else "t" for column in zip(*cells, strict=True)]
    head = _line("th", [name for _, name in headings], kinds)
    groups = [(name, len(list(of))) for name, of in groupby(group for group, _ in headings)]
    if any(name for name, _ in groups):
        spans = (f'<th class="group" colspan="{n}">{escape(name)}</th>' for name, n in groups)
        head = f"<tr>{''.join(spans)}</tr>\n{head}"
    title = f"<caption>{escape(caption)}</caption>\n" if caption else ""
    body = "".join(_line("td", line, kinds) for line in cells)
    return (
        f'<div class="table{" prose" if prose else ""}"><table>\n{title}<thead>\n{head}</thead>\n'
        f"<tbody>\n{body}</tbody></table></div>"
    )


def _headings(table: Table) -> list[tuple[str, str]]:
    """Group and name of each column."""
    columns = table.shown.columns
    return [(column[0], column[1]) if columns.nlevels == 2 else ("", column) for column in columns]


def _cells(table: Table) -> list[list[str]]:
    return table.shown.astype(str).to_numpy().tolist()


def _line(tag: str, cells: Sequence[str], kinds: Sequence[str]) -> str:
    inner = (
        f'<{tag} class="{kind}">{escape(cell)}</{tag}>'
        for kind, cell in zip(kinds, cells, strict=True)
    )
    return f"<tr>{''.join(inner)}</tr>\n"


def _is_number(text: str) -> bool:
    return re.fullmatch(r"not run|[+±-]?\s?[\d.,e+-]*(\s?(±|to|of|x)\s?[\d.,]*)?", text) is not None
