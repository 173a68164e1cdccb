"""Every number with decimals that a page shows stands in a committed file.

Left out: pictures; the pages of docs/ and the ledger, which are committed files themselves; and
the cost of the trainings on the first page, which are means of results/*/provenance.
"""

import json
import re
from html import unescape
from pathlib import Path

import pandas as pd
import pytest

from pipeline.reporting.site import build
from tests.conftest import ROOT

NUMBER = re.compile(r"(?<![\w.-])\d[\d,]*\.\d+(?:e[+-]?\d+)?(?![\w.]*\d)")
REPORTS = sorted(path.parent for path in ROOT.glob("reports/*/report.ipynb"))


def numbers(text: str) -> set[str]:
    return set(NUMBER.findall(text))


def without_tags(html: str) -> str:
    return unescape(re.sub(r"<[^>]*>", " ", html))


def shown(report: Path) -> tuple[str, str]:
    """Text that a committed report shows, and the sources of its notebook."""
    cells = json.loads((report / "report.ipynb").read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    html = [line for output in outputs for line in output["data"].get("text/html", [])]
    return without_tags("".join(html)), "".join(line for c in cells for line in c["source"])


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.name)
def test_every_number_of_a_report_stands_in_one_of_its_tables(report: Path) -> None:
    text, sources = shown(report)
    committed = numbers(sources + (ROOT / "reports" / "notes.csv").read_text())
    for table in report.glob("tables/*.md"):
        committed |= numbers(table.read_text())
    assert len(numbers(text)) > 100
    assert sorted(numbers(text) - committed) == []


def test_every_number_of_the_first_page_stands_in_readme(tmp_path: Path) -> None:
    build(ROOT, tmp_path / "site")
    html = (tmp_path / "site" / "index.html").read_text().partition("<main>")[2]
    before, _, after = html.partition('<h2 id="cost"')
    text = without_tags(before + after.partition("</table>")[2])
    assert len(numbers(text)) > 50
    assert sorted(numbers(text) - numbers((ROOT / "README.md").read_text())) == []


@pytest.mark.parametrize(
    ("sentence", "file", "query", "columns"),
    [
        (
            r"(\S+) points \*below\* one trained with the labels alone "
            r"\(95 % interval (\S+) to (\S+) after",
            "study/tables/ablation-resnet20.csv",
            "row == 'complete' and against == 'binary'",
            ["difference_mean", "holm_high", "holm_low"],
        ),
        (
            r"(\S+) points \*above\* binary alone \((\S+) to (\S+) over",
            "cifar10/tables/ablation-resnet20.csv",
            "row == 'complete' and against == 'binary'",
            ["difference_mean", "holm_low", "holm_high"],
        ),
        (
            r"target=1\.2 .* (\S+) to (\S+) points lower",
            "study-variants/tables/top1-target.csv",
            "row == 'complete' and value == '1.2'",
            ["holm_high", "holm_low"],
        ),
        (
            r"form=softmax .* (\S+) to (\S+) points higher",
            "study-variants/tables/top1-form.csv",
            "row == 'complete' and value == 'softmax'",
            ["holm_low", "holm_high"],
        ),
    ],
)
def test_the_sentences_of_readme_say_what_the_tables_do(
    sentence: str, file: str, query: str, columns: list[str]
) -> None:
    readme = re.sub(r"(?<!\n)\n +", " ", (ROOT / "README.md").read_text())
    [found] = re.findall(sentence, readme)
    [line] = pd.read_csv(ROOT / "reports" / file).query(query).to_dict("records")
    told = [found] if isinstance(found, str) else found
    decimals = [len(number.partition(".")[2]) for number in told]
    values = [abs(line[column]) for column in columns]
    assert [f"{v:.{d}f}" for v, d in zip(values, decimals, strict=True)] == list(told)


def test_readme_counts_the_layers_with_two_modes_as_the_study_does() -> None:
    readme = re.sub(r"(?<!\n)\n +", " ", (ROOT / "README.md").read_text())
    [told] = re.findall(
        r"makes (\d+) to (\d+) of the teacher's 18 layers bimodal, and (\d+) to (\d+) of the "
        r"student that mimics it; a student with the kurtosis loss alone has (\d+) or (\d+)\.",
        readme,
    )
    counts: list[int] = []
    for row in ("kurtosis", "complete", "binary-kurtosis"):
        files = sorted((ROOT / "results/study/details").glob(f"resnet20-{row}-[0-9]*.json"))
        layers = [json.loads(file.read_text())["layers"] for file in files]
        assert [len(each) for each in layers] == [18] * 10
        with_two = [sum(layer["two_modes"] for layer in each) for each in layers]
        counts += [min(with_two), max(with_two)]
    assert [int(number) for number in told] == counts
