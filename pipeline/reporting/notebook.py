"""Executing a notebook source with papermill and rendering it, with the same bytes each time."""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import jupytext
import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from markupsafe import Markup, escape
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from traitlets import default
from traitlets.config import Config

from pipeline.errors import UserError
from pipeline.reporting.markup import Link, Prose, page, part

ROOT = Path(__file__).resolve().parents[2]
LINKS = (
    Link("README", "../../README.md"),
    *(Link(f"Report: {name}", f"../{name}/report.html") for name in ("digits", "cifar10")),
)
"""Links that a report in its own folder begins with."""
READABLE = " !$'()*+,-./:;=?@[]^_`{|}~"
"""Characters that are not quoted in the data URL of a picture, so that Git can compress it."""
SCRUBBED = {
    r"0x[0-9a-f]{6,}": "0x0",
    r"/[^\s\"']*/ipykernel_\d+/\d+\.py": "cell",
}
"""Patterns of what differs between two equal runs, addresses and temporary files, and what replaces
them."""


class _ThisInterpreter(KernelSpecManager):
    """Makes every kernel this Python, whichever kernels the machine has registered."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            language="python",
            display_name="Python 3",
            env={"PYTHONPATH": str(ROOT)},
        )


class _Kernel(AsyncKernelManager):
    """A kernel of this interpreter, reached through files in its own folder."""

    @default("kernel_spec_manager")
    def _this_interpreter(self) -> KernelSpecManager:
        return _ThisInterpreter()


def execute(source: Path, parameters: Mapping[str, str], scratch: Path) -> NotebookNode:
    """Run a notebook source (jupytext, percent format) with parameters, in a kernel of its own.

    Args:
        source: The notebook's source.
        parameters: Values that replace its defaults.
        scratch: Empty folder for the kernel's files; its path must be short enough for a socket.

    Raises:
        UserError: a cell raised an error; if that is a UserError, its message is kept.
    """
    connection = {"transport": "ipc", "connection_file": f"{scratch}/kernel.json"}
    try:
        return papermill.execute_notebook(
            jupytext.read(source),
            None,
            parameters=dict(parameters),
            kernel_name="python3",
            language="python",
            progress_bar=False,
            kernel_manager_class=_Kernel,
            config=Config({"KernelManager": connection}),
            shutdown_kernel="immediate",
            extra_arguments=[f"--ipython-dir={scratch}"],
        )
    except PapermillExecutionError as error:
        message = " ".join(error.evalue.split())
        if error.ename == "UserError":
            raise UserError(message) from None
        raise UserError(f"{source.name}: {error.ename}: {message}") from None


def normalize(notebook: NotebookNode, names: Mapping[str, str]) -> NotebookNode:
    """Drop from an executed notebook all that differs between two equal runs.

    These are timings, execution counts, random cell ids, the chunks of output, addresses and
    temporary paths.

    Args:
        notebook: The notebook, which is changed in place.
        names: Paths of this run, and what to write in their place.
    """
    CoalesceStreamsPreprocessor().preprocess(notebook, {})
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python"},
        }
    )
    for index, cell in enumerate(notebook.cells):
        cell.id = f"cell-{index}"
        cell.source = _scrub(cell.source, names)
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            cell.execution_count = None
        for output in cell.get("outputs", []):
            if "execution_count" in output:
                output.execution_count = None
            if "text" in output:
                output.text = _scrub(output.text, names)
            for kind, content in output.get("data", {}).items():
                if kind.startswith("text/"):
                    output.data[kind] = _scrub(content, names)
    return notebook


def _scrub(text: str, names: Mapping[str, str]) -> str:
    """Replace the paths in `names`, as they are and as HTML has them, and what SCRUBBED matches."""
    for path in sorted(names, key=len, reverse=True):
        text = text.replace(str(escape(path)), str(escape(names[path])))
        text = text.replace(path, names[path])
    for pattern, replacement in SCRUBBED.items():
        text = re.sub(pattern, replacement, text)
    return text


def to_html(
    notebook: NotebookNode,
    folder: Path,
    links: Sequence[Link] = LINKS,
    prose: Prose | None = None,
) -> str:
    """The outputs of a notebook as one page that runs no script and loads nothing.

    Args:
        notebook: An executed notebook, whose pictures are files.
        folder: Folder of the notebook, whose pictures become parts of the page.
        links: Links to other pages.
        prose: Renderer of its Markdown; None: a new `Prose`.
    """
    prose = prose or Prose()
    body = Markup("\n").join(
        prose.render(cell.source)
        if cell.cell_type == "markdown"
        else Markup("\n").join(_output(output, folder) for output in cell.outputs)
        for cell in notebook.cells
    )
    title = re.search(r"<h1[^>]*>(.*?) <a", body)
    return page(Markup(title[1]) if title else "Report", body, prose.sections, links)


def _output(output: NotebookNode, folder: Path) -> Markup:
    """HTML of `markup.part` as it is, a picture with a link to its file, or text, escaped."""
    data = output.get("data", {})
    about = output.get("metadata", {}).get("text/html", {})
    if "file" in about:
        content = (folder / about["file"]).read_text(encoding="utf-8")
        source = f"data:image/svg+xml,{quote(content, safe=READABLE)}"
        return part(
            "picture", path=about["file"], source=source, alt=about["alt"], width=about["width"]
        )
    if "text/html" in data:
        return Markup(data["text/html"])
    return Markup("<pre>{}</pre>").format(output.get("text", data.get("text/plain", "")))
