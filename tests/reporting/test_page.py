import re
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from matplotlib.figure import Figure

from pipeline.reporting import page as page_module
from pipeline.reporting.figures import style
from pipeline.reporting.page import Page
from pipeline.reporting.tables import Table


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Text of whatever a page shows."""
    shown: list[str] = []
    monkeypatch.setattr(page_module, "display", lambda thing: shown.append(thing.data))
    return shown


def test_a_table_is_shown_and_kept_twice(displayed: list[str], tmp_path: Path) -> None:
    data = pd.DataFrame({"row": ["binary"], "top1": [91.123456789012]})
    shown = pd.DataFrame({"Row": ["Binary alone"], "Top-1, %": ["91.12"]})
    Page(tmp_path, "dvc repro report").table("measured", Table(data, shown), "Measured.")
    assert (tmp_path / "tables/measured.csv").read_text() == "row,top1\nbinary,91.1234568\n"
    assert "| Binary alone | 91.12 |" in (tmp_path / "tables/measured.md").read_text()
    [html] = displayed
    assert 'id="table-measured">Measured.' in html
    assert 'Stage <code>report</code> · <a href="tables/measured.csv">CSV</a>' in html
    assert "redraw: <code>dvc repro report</code>" in html


def test_files_of_a_debug_run_say_so(displayed: list[str], tmp_path: Path) -> None:
    page = Page(tmp_path, "dvc repro report", debug=True)
    data = pd.DataFrame({"row": ["binary"]})
    page.table("measured", Table(data, data), "")
    figure = Figure(figsize=(1, 1))
    page.figure("empty", figure, "Nothing.", alt="", data=["tables/measured.csv"])
    files = sorted(path.name for path in tmp_path.glob("*/*"))
    assert files == [
        "debug-empty.png",
        "debug-empty.svg",
        "debug-measured.csv",
        "debug-measured.md",
    ]
    assert [text.get_text() for text in figure.texts] == ["DEBUG RUN, NO RESULT"]
    assert 'href="tables/debug-measured.csv"' in displayed[-1]
    page.files()
    assert displayed[-1].count("<li>") == 4


def test_numbers_of_a_figure_are_linked(displayed: list[str], tmp_path: Path) -> None:
    page = Page(tmp_path, "dvc repro report", debug=True)
    data = page.numbers("counts", pd.DataFrame({"images": [1.5]}))
    assert (tmp_path / "tables/debug-counts.csv").read_text() == "images\n1.5\n"
    page.figure("counts", Figure(figsize=(1, 1)), "", alt="", data=[data])
    assert '<a href="tables/debug-counts.csv">CSV</a>' in displayed[-1]
    page.files()
    assert displayed[-1].count("<li>") == 3


def test_a_figure_is_kept_without_the_version_that_drew_it(
    displayed: list[str], tmp_path: Path
) -> None:
    page = Page(tmp_path, "dvc repro report")
    page.figure(
        "empty", Figure(figsize=(1, 1)), "Nothing & more.", alt="A frame", data=["results/x"]
    )
    content = (tmp_path / "figures/empty.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert b"Software" not in content
    drawing = (tmp_path / "figures/empty.svg").read_text()
    assert drawing.startswith("<?xml") and drawing.endswith("</svg>\n")
    assert "matplotlib.org" not in drawing and "<dc:date>" not in drawing
    picture, caption = displayed
    assert '<img alt="A frame" style="--width: 4.667rem" src="figures/empty.png">' in picture
    assert 'id="figure-empty">Nothing &amp; more.' in caption
    assert "drawn from <code>results/x</code>" in caption


def test_names_in_a_figure_are_no_markup_of_its_file() -> None:
    style.use_style()
    figure = Figure(figsize=(2, 1))
    figure.text(0, 0, r"$\frac$ --><script>alert(1)</script>")
    first, second = style.svg(figure), style.svg(figure)
    assert first == second
    found = ElementTree.fromstring(first)
    assert not [each for each in found.iter() if each.tag.endswith("script")]


def test_headings_only_where_there_are_several_networks(
    displayed: list[str], tmp_path: Path
) -> None:
    page = Page(tmp_path, "dvc repro report")
    assert list(page.networks(["resnet20"])) == ["resnet20"]
    assert displayed == []
    assert list(page.networks(["resnet20", "vgg_small"])) == ["resnet20", "vgg_small"]
    assert ["ResNet-20" in displayed[0], "VGG-Small" in displayed[1]] == [True, True]
    list(page.networks(["resnet20", "vgg_small"]))
    places = [re.findall(r'id="([^"]+)"', html) for html in displayed]
    assert places == [["ResNet-20-1"], ["VGG-Small-2"], ["ResNet-20-3"], ["VGG-Small-4"]]


def test_nothing_is_shown_of_nothing(displayed: list[str], tmp_path: Path) -> None:
    page = Page(tmp_path, "dvc repro report")
    page.bullets("Title", [])
    page.text("")
    page.banner("")
    assert displayed == []
    page.bullets("Title", ["one", "two"])
    assert displayed[0].count("<li>") == 2
