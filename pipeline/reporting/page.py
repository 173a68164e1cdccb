"""Showing tables and figures in the notebook, and writing each to files of its own."""

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import pandas as pd
from IPython.display import HTML, display
from matplotlib.figure import Figure

from pipeline.artifacts import write_bytes, write_csv, write_text
from pipeline.reporting.figures.style import WIDTH, png, svg
from pipeline.reporting.markup import part, slug, to_html, to_markdown
from pipeline.reporting.rows import network_label
from pipeline.reporting.summary import Card
from pipeline.reporting.tables import Table


class Page:
    """The page that the notebook shows and writes; all text given to it is plain, not markup.

    Args:
        folder: Folder for `tables/<name>.csv`, `tables/<name>.md`, `figures/<name>.png` and
            `figures/<name>.svg`.
        redraw: The command that draws them again.
        debug: Whether what it shows is no result. Then the names of the files begin with `debug-`,
            and figures are stamped.
    """

    def __init__(self, folder: Path, redraw: str, *, debug: bool = False) -> None:
        self._folder = folder
        self._redraw = redraw
        self._prefix = "debug-" if debug else ""
        self._written: list[str] = []
        self._headings = count(1)

    def title(self, text: str) -> None:
        """Show the title of the page."""
        self._show(part("heading", level=1, text=text, id="title"))

    def text(self, content: str) -> None:
        """Show a paragraph, unless it is empty."""
        if content:
            self._show(part("text", content=content))

    def banner(self, content: str) -> None:
        """Show a warning that nobody can overlook, unless it is empty."""
        if content:
            self._show(part("banner", content=content))

    def bullets(self, title: str, items: Sequence[str]) -> None:
        """Show a list under a title, or nothing if it is empty."""
        if items:
            self._show(part("bullets", title=title, items=items))

    def cards(self, cards: Sequence[Card]) -> None:
        """Show a few figures, large and side by side."""
        self._show(part("cards", cards=cards))

    def networks(self, names: Sequence[str]) -> Iterator[str]:
        """Yield the networks one by one, each under its own heading if there are several."""
        for name in names:
            if len(names) > 1:
                text = network_label(name)
                place = f"{slug(text)}-{next(self._headings)}"
                self._show(part("heading", level=3, text=text, id=place))
            yield name

    def table(
        self, name: str, table: Table, caption: str, *, prose: bool = False, folded: str = ""
    ) -> None:
        """Show a table and write it as CSV (numbers) and Markdown (as shown).

        Args:
            name: Name of its files and of its place in the page.
            table: What to show.
            caption: Text above it.
            prose: Whether its columns hold sentences.
            folded: Title under which the table is hidden until it is opened; empty: not hidden.
        """
        csv, markdown = f"tables/{self._prefix}{name}.csv", f"tables/{self._prefix}{name}.md"
        write_csv(self._folder / csv, table.data)
        write_text(self._folder / markdown, to_markdown(table))
        self._written += [csv, markdown]
        self._show(
            to_html(
                table,
                caption,
                prose=prose,
                folded=folded,
                id=f"table-{name}",
                files=[("CSV", csv), ("Markdown", markdown)],
                redraw=self._redraw,
            )
        )

    def numbers(self, name: str, data: pd.DataFrame) -> str:
        """Write the numbers of a figure as CSV; return the path for the figure's `data`."""
        path = f"tables/{self._prefix}{name}.csv"
        write_csv(self._folder / path, data)
        self._written.append(path)
        return f"tables/{name}.csv"

    def figure(
        self, name: str, figure: Figure, caption: str, *, alt: str, data: Sequence[str]
    ) -> None:
        """Show a figure and write it as PNG and as SVG.

        Args:
            name: Name of its files and of its place in the page.
            figure: What to draw.
            caption: How to read it.
            alt: A description for those who cannot see it.
            data: Where its numbers are: tables of this report, and folders of results.
        """
        if self._prefix:
            figure.text(
                0.5, 0.5, "DEBUG RUN, NO RESULT", color="red", alpha=0.4, size=24, ha="center"
            )
        path, vector = (f"figures/{self._prefix}{name}.{suffix}" for suffix in ("png", "svg"))
        write_bytes(self._folder / path, png(figure))
        write_text(self._folder / vector, svg(figure))
        self._written += [path, vector]
        files = [("PNG", path), ("SVG", vector)]
        tables = [each.removeprefix("tables/") for each in data if each.startswith("tables/")]
        for table in tables:
            link = "CSV" if len(tables) == 1 else f"CSV {Path(table).stem}"
            files.append((link, f"tables/{self._prefix}{table}"))
        width = f"{42 * figure.get_figwidth() / WIDTH:.4g}rem"
        display(
            HTML(
                part("picture", path=vector, source=path, alt=alt, width=width),
                metadata={"alt": alt, "file": vector, "width": width},
            )
        )
        self._show(
            part(
                "figure",
                id=f"figure-{name}",
                caption=caption,
                files=files,
                data=[each for each in data if not each.startswith("tables/")],
                redraw=self._redraw,
            )
        )

    def files(self) -> None:
        """Show a link to every file written so far."""
        self._show(part("files", paths=self._written))

    @staticmethod
    def _show(content: str) -> None:
        display(HTML(content))
