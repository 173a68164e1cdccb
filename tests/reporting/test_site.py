import re
import shutil
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.reporting.site import Document, build
from stages.site import main
from tests.conftest import ROOT, read_yaml
from tests.reporting.synthetic import write_results

DEPS = read_yaml(ROOT / "docs" / "dvc.yaml")["stages"]["site"]["deps"]


class Links(HTMLParser):
    """What a page leads to or loads, and the places that it has."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.places: set[str] = set()
        self.feed(content)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.targets += [found[key] or "" for key in ("href", "src") if key in found]
        self.places.add(found.get("id") or "")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documents and reports of this project, beside results of two tables."""
    root = tmp_path_factory.mktemp("project")
    for table in ("digits", "cifar10"):
        write_results(root / "results" / table, layers=1, seeds=[1], rows=["binary", "complete"])
    shutil.copytree(ROOT / "docs", root / "docs")
    shutil.copytree(ROOT / "reports", root / "reports")
    shutil.copy(ROOT / "README.md", root)
    (root / "docs" / "method.png").write_bytes(b"a picture")
    return root


@pytest.fixture(scope="module")
def site(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("first") / "site"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["site", "--root", str(project), "--out", str(out)])
        main()
    return out


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_two_builds_are_equal_to_the_byte(project: Path, site: Path, tmp_path: Path) -> None:
    other = shutil.copytree(project, tmp_path / "elsewhere")
    build(other, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(site)


def test_every_link_leads_to_a_file_and_a_place_inside_the_site(site: Path) -> None:
    pages = {path: Links(path.read_text()) for path in site.rglob("*.html")}
    dead = []
    for path, links in pages.items():
        for target in links.targets:
            if re.match("https:|data:image/(png;base64|svg\\+xml[;,])", target):
                continue
            name, _, place = target.partition("#")
            file = (path.parent / name).resolve() if name else path
            inside = file.is_file() and file.is_relative_to(site)
            if not inside or (place and place not in pages[file].places):
                dead.append((path.name, target))
    assert not dead
    sources = ["docs/*.md", "reports/*/report.ipynb", "reports/*/training-cost.html"]
    assert len(pages) == 2 + sum(len([*ROOT.glob(pattern)]) for pattern in sources)


def test_no_page_runs_or_loads_anything(site: Path) -> None:
    for path in site.rglob("*.html"):
        html = path.read_text()
        policy = html.partition('http-equiv="Content-Security-Policy"')[2].partition(">")[0]
        assert "default-src 'none'" in policy, path
        pictures = re.findall(r'src="data:image/svg\+xml,([^"]*)"', html)
        for picture in pictures:
            assert picture.count("url(") == picture.count("url(%23"), "a place in the picture"
        html = re.sub(r'src="data:[^"]*"', "", html)
        assert not re.search("<script|<link|<iframe|<object|@import|url\\(", html), path


def test_the_first_page_holds_every_table(site: Path) -> None:
    html = unescape((site / "index.html").read_text())
    for table in ("cifar10", "digits"):
        assert html.count(f'data-heading="Measured on">{table}, ResNet-20') == 5
        assert html.count(f'data-heading="{table}, ResNet-20">') == 5
        assert html.count(f'<th class="t">{table}, ResNet-20</th>') == 3
        assert f"<li>{table}: " in html
    assert "The method reduces the generalization error" in html
    assert (site / "tables" / "claims.csv").read_text().count("\n") == 1 + 2 * 5


def test_the_ledger_holds_every_choice(site: Path) -> None:
    html = (site / "ledger.html").read_text()
    assert html.count('data-heading="Choice"') > 20
    assert (site / "reports/fidelity.csv").is_file()


def test_the_stage_depends_on_every_page_and_on_every_file_it_copies(site: Path) -> None:
    pages = {f"docs/{path.name}" for path in ROOT.glob("docs/*.md")}
    assert {dep for dep in DEPS if dep.startswith("docs/")} == pages | {"docs/method.png"}
    copies = {name for name in contents(site) if not name.endswith(".html")}
    made = {f"tables/{name}.csv" for name in ("outcomes", "claims", "top1", "cost")}
    outside = [name for name in copies - made if not name.startswith(("docs/", "reports/"))]
    assert not outside


def test_a_document_keeps_its_links_tables_and_places(tmp_path: Path) -> None:
    for name in ("README.md", "docs/method.md", "reports/fidelity.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    document = Document(tmp_path, Path("docs/a.md"))
    html = document.render(
        "# A\n\n## What is it? (1)\n\n[m](method.md#claim), [o](https://a.b), [r](../README.md), "
        "[c](../reports/fidelity.csv), [p](#place)\n\n|x|\n|-|\n|1|\n\n<!-- a -->\n\n<script>\n"
    )
    assert re.findall('href="([^"]+)"', html)[2:] == [
        "method.html#claim",
        "https://a.b",
        "../index.html",
        "../reports/fidelity.csv",
        "#place",
    ]
    assert document.sections == [{"id": "what-is-it-1", "text": "What is it? (1)"}]
    assert document.files == {Path("reports/fidelity.csv")}
    assert '<div class="table"><table>' in html
    assert "<script" not in html
    assert "a --" not in html


def test_a_formula_is_a_picture_of_its_own_or_in_its_line(tmp_path: Path) -> None:
    text = "A $\\lvert x \\rvert \\le 1$.\n\n"
    text += "```math\n\\frac{1}{n}\n\\sum_i x_i\n```\n\n```\n$x$\n```\n"
    html, again = (Document(tmp_path, Path("docs/a.md")).render(text) for _ in range(2))
    assert html == again
    assert re.findall(r'(<p[^>]*>.?.?)<img class="formula" alt="([^"]+)"', html) == [
        ("<p>A ", r"\lvert x \rvert \le 1"),
        ('<p class="formula">', "\\dfrac{1}{n}\n\\sum_i x_i"),
    ]
    assert "<code>$x$\n</code>" in html


def test_a_formula_that_cannot_be_drawn_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^docs/a.md: cannot draw the formula \\none$"):
        Document(tmp_path, Path("docs/a.md")).render(r"$\none$")


def test_a_link_to_a_page_copies_nothing_over_it(project: Path, tmp_path: Path) -> None:
    root = shutil.copytree(project, tmp_path / "project")
    with (root / "docs" / "method.md").open("a") as file:
        file.write("\n[the report](../reports/digits/report.html)\n")
    build(root, tmp_path / "out")
    page = (tmp_path / "out/reports/digits/report.html").read_text()
    assert '<a href="../../ledger.html">' in page


@pytest.mark.parametrize("link", ["none.md", "../../outside.md", "../pipeline"])
def test_a_link_to_no_file_is_one_line(project: Path, link: str) -> None:
    with pytest.raises(UserError, match=f"^docs/a.md: links to {link}, which is no file of the"):
        Document(project, Path("docs/a.md")).render(f"[a]({link})")


def test_no_half_of_a_site_is_left(project: Path, tmp_path: Path) -> None:
    root = shutil.copytree(project, tmp_path / "project")
    (root / "docs" / "method.png").unlink()
    with pytest.raises(
        UserError, match=r"method\.png: no such file; make readme draws the picture"
    ):
        build(root, tmp_path / "out")
    assert not (tmp_path / "out").exists()
