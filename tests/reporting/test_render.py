import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from html import unescape
from pathlib import Path

import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.reporting.loading import load_results
from pipeline.reporting.render import render
from pipeline.reporting.rows import ROWS
from stages.report import main
from tests.reporting.synthetic import CLASSES, MANIFEST, PROVENANCE, edit_json, write_results

ROOT = Path(__file__).parents[2]
PARAMS, PUBLISHED = ROOT / "params.yaml", ROOT / "reports" / "published.csv"


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def rendered(shared_results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("first") / "reports" / "digits"
    command = f"report --params {PARAMS} --results {shared_results}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", f"{command} --published {PUBLISHED} --out {out}".split())
        main()
    return out


def test_another_clone_gives_the_same_bytes(
    rendered: Path, shared_results: Path, tmp_path: Path
) -> None:
    """By the command, in a copy of the project, with other paths, over an older report."""
    clone = tmp_path / "clone"
    for folder in ("pipeline", "stages", "reports"):
        ignored = shutil.ignore_patterns("__pycache__", "digits", "cifar10")
        shutil.copytree(ROOT / folder, clone / folder, ignore=ignored)
    shutil.copy(PARAMS, clone)
    results = shutil.copytree(shared_results, tmp_path / "deep" / "er" / "digits")
    for path in (results / "provenance").iterdir():
        edit_json(path, training=PROVENANCE | {"revision": "f" * 40, "seconds": 7.0})
    out = tmp_path / "elsewhere" / "digits"
    (out / "tables").mkdir(parents=True)
    (out / "tables" / "old.csv").write_text("old")
    (out / "dvc.yaml").write_text("kept")
    answer = subprocess.run(
        f"{sys.executable} -m stages.report --params params.yaml --results {results} "
        f"--published reports/published.csv --out {out}",
        shell=True,
        cwd=clone,
        env={
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHONPATH", "COVERAGE_"))
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout == f"report: {out / 'report.html'}\n"
    found, expected = _files(out), _files(rendered)
    assert found.pop("dvc.yaml") == b"kept"
    assert found.keys() == expected.keys()
    differ = {name for name in found if found[name] != expected[name]}
    assert differ == {"training-cost.html", "training-cost.csv"}


def test_the_report_holds_every_part_in_order(rendered: Path) -> None:
    html = (rendered / "report.html").read_text()
    parts = [
        "BD-BNN on scikit-learn&#39;s handwritten digits, 2 seeds",
        "Measured and published",
        "Ablation",
        "Training",
        "Weight distributions",
        "Kurtosis",
        "Feature maps",
        "Confusion",
        "Layers",
        "Cost",
        "What was run",
        "Fidelity ledger",
        "Files",
    ]
    assert f">{parts[0]} <a" in html
    places = [html.find(f">{part} <a") for part in parts[1:]]
    assert all(place > 0 for place in places)
    assert places == sorted(places)
    assert html.find('id="table-verdict"') < html.find('class="cards"')
    assert "reports/published.csv has no figure for this data set and network." in html
    assert "DEBUG RUN" not in html


def test_the_page_opens_anywhere(rendered: Path) -> None:
    html = (rendered / "report.html").read_text()
    assert "<script" not in html
    assert "<link" not in html
    sources = [part.partition('"')[0][:22] for part in html.split('src="')[1:]]
    assert sources == ["data:image/svg+xml,%3C"] * 8
    assert html.count('<a class="picture" href="figures/') == 8
    assert len(html) < 5e6


def test_tables_and_figures_are_files_too(rendered: Path) -> None:
    names = set(_files(rendered))
    of_network = ["measured", "ablation", "kurtosis", "blank-maps", "layers", "modes", "cost"]
    for table in ("verdict", "fidelity", *(f"{name}-resnet20" for name in of_network)):
        assert {f"tables/{table}.csv", f"tables/{table}.md"} <= names
    figures = [name for name in names if name.startswith("figures/")]
    assert len(figures) == 16
    starts = {".png": b"\x89PNG", ".svg": b"<?xml"}
    for name in figures:
        assert (rendered / name).read_bytes().startswith(starts[Path(name).suffix])


def test_the_metrics_of_the_table_are_one_file(rendered: Path, shared_results: Path) -> None:
    results = load_results(shared_results)
    metrics = json.loads((rendered / "metrics.json").read_text())
    assert list(metrics) == ["resnet20"]
    assert list(metrics["resnet20"]) == [row.name for row in ROWS]
    found = metrics["resnet20"]["complete"]
    mean = 100 * sum(c.metrics.top1 for c in results.seeds("resnet20", "complete")) / 2
    assert (found["top1"], found["seeds"]) == (round(mean, 2), 2)
    assert found["top1_low"] < found["top1"] < found["top1_high"]
    measured = pd.read_csv(rendered / "tables/measured-resnet20.csv").set_index("row")
    assert found["top1_low"] == round(measured.loc["complete", "top1_low"], 2)


def test_what_the_training_took_has_a_page_of_its_own(rendered: Path) -> None:
    html = (rendered / "report.html").read_text()
    assert 'href="training-cost.html"' in html
    assert "1,800 s" not in html
    page = (rendered / "training-cost.html").read_text().replace("<wbr>", "")
    assert "1,800 s; 500 images/s" in page
    assert "device cpu; cpu A Processor; threads 2" in page
    assert set(re.findall(r'href="([^"#]+)"', page)) == {"report.html", "training-cost.csv"}
    costs = pd.read_csv(rendered / "training-cost.csv").set_index("row")
    assert (costs["peak_memory_mib"] == 812.3).all()
    assert list(costs.index) == [row.name for row in ROWS]


def test_the_notebook_keeps_its_code_and_no_path_of_the_machine(
    rendered: Path, shared_results: Path
) -> None:
    text = (rendered / "report.ipynb").read_text()
    assert "page.table(" in text
    for path in (rendered.parent, shared_results.parent, ROOT):
        assert str(path) not in text
    outputs = [out for cell in json.loads(text)["cells"] for out in cell.get("outputs", [])]
    assert {out["output_type"] for out in outputs} == {"display_data"}
    assert "image/png" not in text  # the pictures are in figures/ and in the page
    assert text.count("<img alt=") == 8


def test_an_error_leaves_the_old_report_whole(own_results: Path, tmp_path: Path) -> None:
    out = tmp_path / "reports" / "digits"
    out.mkdir(parents=True)
    (out / "report.html").write_text("old")
    edit_json(own_results / "resnet20-binary-2.json", top1=2)
    with pytest.raises(UserError, match=r"^\S*resnet20-binary-2\.json: top1 is 2: ") as caught:
        render(PARAMS, own_results, PUBLISHED, out)
    assert "\n" not in str(caught.value)
    assert _files(tmp_path / "reports") == {"digits/report.html": b"old"}
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["digits"]


def test_a_folder_for_temporary_files_whose_path_is_too_long(
    shared_results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(UserError, match=f"^TMPDIR is {long}: too long for the sockets of a note"):
        render(PARAMS, shared_results, PUBLISHED, tmp_path / "reports/digits")
    assert not any(long.iterdir())


def test_every_link_into_the_report_leads_to_a_file(rendered: Path) -> None:
    html = (rendered / "report.html").read_text()
    links = set(re.findall(r'href="((?:tables|figures)/[^"]+)"', html))
    assert links == {name for name in _files(rendered) if "/" in name}
    places = set(re.findall(r'href="#([^"]+)"', html))
    assert places <= set(re.findall(r'id="([^"]+)"', html))


def test_ledger_and_checksums_are_folded(rendered: Path) -> None:
    html = (rendered / "report.html").read_text()
    for folded in ("Every choice", "Checksums of the data"):
        assert f"<details><summary>{folded}</summary>" in html
    assert "<details open" not in html


def test_what_redraws_a_report_is_named(rendered: Path) -> None:
    html = (rendered / "report.html").read_text()
    assert html.count("redraw: <code>dvc repro report</code>") >= 16


IMAGE = "<img src=x onerror=alert(1)>"
MATHS = r"$\frac$"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of results in which whatever is a name is HTML, Markdown or mathematics."""
    folder = tmp_path_factory.mktemp("hostile") / f"{IMAGE}{MATHS}"
    write_results(folder, rows=["binary", "complete"], seeds=[1], layers=1, epochs=2)
    classes = [f"{IMAGE}{MATHS}", "**bold**", "[link](javascript:alert(1))", *CLASSES[3:]]
    evil = {IMAGE: {MATHS: IMAGE}}
    for path in (folder / "details").glob("*.json"):
        manifest = MANIFEST | evil | {"source": "folders", "classes": classes, "origin": evil}
        details = json.loads(path.read_text())
        edit_json(
            path,
            classes=classes,
            manifest=manifest,
            params=details["params"] | {IMAGE: {IMAGE: MATHS}},
            distiller=f"{IMAGE}-{IMAGE}-1",
            layers=[layer | {"name": MATHS} for layer in details["layers"]],
            histogram={
                "edges": details["histogram"]["edges"],
                "counts": {MATHS: next(iter(details["histogram"]["counts"].values()))},
            },
        )
    for path in (folder / "kurtosis").glob("*.csv"):
        pd.read_csv(path).assign(layer=MATHS).to_csv(path, index=False)
    for path in (folder / "provenance").glob("*.json"):
        edit_json(path, training=PROVENANCE | {"cpu": IMAGE, "packages": evil})
    out = tmp_path_factory.mktemp("reports") / "digits"
    render(PARAMS, folder, PUBLISHED, out)
    assert not re.search(r"(?<!\\)<img", "".join(p.read_text() for p in out.glob("tables/*.md")))
    return (out / "report.html").read_text()


def test_no_name_is_markup_in_the_page(hostile: str) -> None:
    assert hostile.count("<img") == hostile.count("<img alt=") == 8
    assert hostile.count("&lt;img src=x onerror=alert(1)&gt;") > 10
    assert "<strong>bold" not in hostile
    assert 'href="javascript:' not in hostile


def test_names_stand_in_the_page_as_they_are(hostile: str) -> None:
    text = unescape(hostile)
    assert f"<title>BD-BNN on {IMAGE}{MATHS} (class folders), 1 seed</title>" in text
    for name in ("**bold**", "[link](javascript:alert(1))", MATHS):
        assert name in text


def test_a_report_to_the_same_folder_removes_what_a_killed_one_left(
    own_results: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    temporary = tmp_path_factory.mktemp("t")  # short, as sockets lie there
    out = tmp_path / "reports" / "digits"
    command = f"-m stages.report --params {PARAMS} --results {own_results} --published {PUBLISHED}"
    killed = subprocess.Popen(
        [sys.executable, *command.split(), "--out", str(out)],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    while not list(temporary.glob("report-*/*")):  # until its kernel is there
        assert killed.poll() is None
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    assert [path.suffix for path in out.parent.iterdir()] == [".part"]
    (out.parent / ".digits-full.x.part").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    render(PARAMS, own_results, PUBLISHED, out)
    names = {path.name for path in out.parent.iterdir()}
    assert names == {"digits", ".digits-full.x.part"}  # the other is of another report
    assert not [path for path in temporary.iterdir() if path.name.startswith("report-")]


@pytest.mark.parametrize("name", ["tables/study/dvc.yaml", "figures/notes.txt"])
def test_what_no_report_made_is_not_replaced(own_results: Path, tmp_path: Path, name: str) -> None:
    other = tmp_path / name
    other.parent.mkdir(parents=True)
    other.touch()
    with pytest.raises(UserError, match="no report puts that there; name another folder"):
        render(PARAMS, own_results, PUBLISHED, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [other] or other.exists()


def test_a_folder_that_cannot_be_written_is_one_line(own_results: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be written: "):
        render(PARAMS, own_results, PUBLISHED, tmp_path / "file" / "digits")


def test_no_torch_is_imported_to_draw(tmp_path: Path) -> None:
    code = (
        "import sys; from pipeline.reporting import caveats, effect_tables, page, render, summary; "
        "from tools import headline; "
        "from pipeline.reporting.figures import accuracy, effects, feature_maps, weights; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
