from pathlib import Path

import nbformat
import pytest
from markupsafe import escape
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from pipeline.errors import UserError
from pipeline.reporting.notebook import execute, normalize, to_html


def _folder(run: int) -> str:
    return f"/home/R&D <{run}>/results"


def _notebook(run: int) -> nbformat.NotebookNode:
    """What papermill could have made in run 1 or 2, with all that differs between runs."""
    folder = _folder(run)
    outputs = [
        new_output("stream", name="stdout", text=f"<object at 0x7f0{run}aa00>\n"),
        new_output("stream", name="stdout", text=f"/tmp/ipykernel_{run}/12{run}.py:1: careful\n"),
        new_output(
            "display_data",
            data={"image/png": "0x7f01aa00", "text/plain": folder},
        ),
        new_output("execute_result", data={"text/plain": "1"}, execution_count=run),
        new_output("display_data", data={"text/html": f"in {escape(folder)}"}),
    ]
    if run == 2:  # the same text in one piece
        outputs[:2] = [new_output("stream", name="stdout", text=outputs[0].text + outputs[1].text)]
    cell = new_code_cell(f'folder = "{folder}"', outputs=outputs, execution_count=run)
    cell.metadata = {"tags": ["injected-parameters"], "papermill": {"duration": run}}
    title = new_markdown_cell("# Title", metadata={"tags": [], "papermill": {"duration": run}})
    notebook = new_notebook(cells=[title, cell])
    notebook.metadata = {"papermill": {"start_time": run}, "language_info": {"version": "3.11"}}
    return notebook


def test_two_equal_runs_are_equal_to_the_byte() -> None:
    first, second = (
        nbformat.writes(normalize(_notebook(run), {_folder(run): "results/<b>"})) for run in (1, 2)
    )
    assert first == second
    assert "papermill" not in first
    assert '"folder = \\"results/<b>\\""' in first
    assert "injected-parameters" in first
    assert "in results/&lt;b&gt;" in first


def test_images_are_left_alone() -> None:
    notebook = normalize(_notebook(1), {})
    assert notebook.cells[1].outputs[1].data["image/png"] == "0x7f01aa00"


def test_the_page_hides_code_and_needs_nothing_else(tmp_path: Path) -> None:
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# A title"),
            new_code_cell("secret = 1", outputs=[new_output("stream", text="shown")]),
            new_markdown_cell("## First part"),
        ]
    )
    html = to_html(notebook, tmp_path)
    assert "<title>A title</title>" in html
    assert '<a href="#First-part">First part</a>' in html
    assert "shown" in html
    assert "secret" not in html
    for needle in ("<script", "<link", "@import", "src=", "url("):
        assert needle not in html


def test_the_page_shows_pictures_that_open_large_and_escapes_text(tmp_path: Path) -> None:
    (tmp_path / "a.svg").write_text('<svg id="#é">100 %</svg>', encoding="utf-8")
    image = new_output(
        "display_data",
        data={"text/html": "a link to it"},
        metadata={"text/html": {"alt": '"> <b>', "file": "a.svg", "width": "9rem"}},
    )
    cells = [new_code_cell("", outputs=[image, new_output("stream", text="<b>")])]
    html = to_html(new_notebook(cells=cells), tmp_path)
    assert (
        '<a class="picture" href="a.svg"><img alt="&#34;&gt; &lt;b&gt;" '
        'style="--width: 9rem" '
        'src="data:image/svg+xml,%3Csvg id=%22%23%C3%A9%22%3E100 %25%3C/svg%3E"></a>\n'
        "<pre>&lt;b&gt;</pre>"
    ) in html


def test_the_page_lets_nothing_run_and_nothing_load(tmp_path: Path) -> None:
    html = to_html(new_notebook(), tmp_path)
    policy = html.partition('http-equiv="Content-Security-Policy"')[2].partition(">")[0]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


def test_a_notebook_without_a_title_is_a_report(tmp_path: Path) -> None:
    assert "<title>Report</title>" in to_html(new_notebook(), tmp_path)


def test_an_error_in_a_cell_is_one_line(tmp_path: Path) -> None:
    source = tmp_path / "broken.py"
    source.write_text(
        '# %% tags=["parameters"]\nsize = 1\n# %%\nraise ValueError(f"is\\n{size}")\n'
    )
    with pytest.raises(UserError, match=r"^broken\.py: ValueError: is 7$"):
        execute(source, {"size": "7"}, tmp_path)
