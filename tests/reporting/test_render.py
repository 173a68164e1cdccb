import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.reporting.render import render
from stages.report import main
from tests.reporting.synthetic import edit_json

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
    assert [name for name in found if found[name] != expected[name]] == []


def test_the_report_holds_every_part_in_order(rendered: Path) -> None:
    html = (rendered / "report.html").read_text()
    parts = [
        "BD-BNN on scikit-learn&#39;s handwritten digits",
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
    ]
    places = [html.find(f">{part}<") for part in parts[1:]]
    assert all(place > 0 for place in places)
    assert places == sorted(places)
    assert "No published figure exists for this data set and network." in html
    assert "DEBUG RUN" not in html


def test_the_page_opens_anywhere(rendered: Path) -> None:
    html = (rendered / "report.html").read_text()
    assert "<script" not in html
    assert "<link" not in html
    sources = [part.partition('"')[0][:22] for part in html.split('src="')[1:]]
    assert sources == ["data:image/png;base64,"] * 8
    assert len(html) < 5e6


def test_tables_and_figures_are_files_too(rendered: Path) -> None:
    names = set(_files(rendered))
    for table in ("measured-resnet20", "ablation-resnet20", "cost-resnet20", "fidelity"):
        assert {f"tables/{table}.csv", f"tables/{table}.md"} <= names
    figures = [name for name in names if name.startswith("figures/")]
    assert len(figures) == 8
    assert all((rendered / name).read_bytes().startswith(b"\x89PNG") for name in figures)


def test_the_notebook_keeps_its_code_and_no_path_of_the_machine(
    rendered: Path, shared_results: Path
) -> None:
    text = (rendered / "report.ipynb").read_text()
    assert "page.table(" in text
    for path in (rendered.parent, shared_results.parent, ROOT):
        assert str(path) not in text
    outputs = [out for cell in json.loads(text)["cells"] for out in cell.get("outputs", [])]
    assert {out["output_type"] for out in outputs} == {"display_data"}


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


def test_a_folder_that_cannot_be_written_is_one_line(own_results: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be written: "):
        render(PARAMS, own_results, PUBLISHED, tmp_path / "file" / "digits")


def test_no_torch_is_imported_to_draw(tmp_path: Path) -> None:
    code = (
        "import sys; from pipeline.reporting import caveats, page, render, summary; "
        "from tools import headline; "
        "from pipeline.reporting.figures import accuracy, feature_maps, weights; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
