"""Showing tables and figures in the notebook and keeping each as files of its own."""

import io
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from IPython.display import HTML, Image, Markdown, display
from matplotlib.figure import Figure

from pipeline.artifacts import write_bytes, write_csv, write_text
from pipeline.reporting.markup import to_html, to_markdown
from pipeline.reporting.rows import network_label
from pipeline.reporting.tables import Table


class Page:
    """What the notebook shows and writes.

    Args:
        folder: Gets `tables/<name>.csv`, `tables/<name>.md` and `figures/<name>.png`.
        debug: What it shows is no result: the names of the files begin with `debug-`, and figures
            are stamped.
    """

    def __init__(self, folder: Path, *, debug: bool = False) -> None:
        self._folder = folder
        self._prefix = "debug-" if debug else ""

    def text(self, markdown: str) -> None:
        """Show Markdown, unless it is empty."""
        if markdown:
            display(Markdown(markdown))

    def html(self, content: str) -> None:
        """Show HTML, unless it is empty."""
        if content:
            display(HTML(content))

    def bullets(self, title: str, items: Sequence[str]) -> None:
        """Show a list under a title, or nothing if it is empty."""
        if items:
            self.text("\n".join([f"**{title}**", "", *(f"- {item}" for item in items)]))

    def networks(self, names: Sequence[str]) -> Iterator[str]:
        """The networks one by one, each under its heading if there are several."""
        for name in names:
            if len(names) > 1:
                self.text(f"### {network_label(name)}")
            yield name

    def table(self, name: str, table: Table, caption: str = "", *, prose: bool = False) -> None:
        """Show a table and write it as CSV (numbers) and Markdown (as shown)."""
        write_csv(self._folder / "tables" / f"{self._prefix}{name}.csv", table.data)
        write_text(self._folder / "tables" / f"{self._prefix}{name}.md", to_markdown(table))
        self.html(to_html(table, caption, prose=prose))

    def figure(self, name: str, figure: Figure, caption: str) -> None:
        """Show a figure and write it as PNG."""
        if self._prefix:
            figure.text(
                0.5, 0.5, "DEBUG RUN, NO RESULT", color="red", alpha=0.4, size=24, ha="center"
            )
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
        write_bytes(self._folder / "figures" / f"{self._prefix}{name}.png", buffer.getvalue())
        display(Image(buffer.getvalue(), alt=caption))
        self.html(f'<p class="caption">{escape(caption)}</p>')
