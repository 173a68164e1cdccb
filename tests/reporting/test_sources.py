import re
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.params import load_params
from pipeline.reporting.sources import Choice, FileNote, PublishedFigure, note_on, read_lines

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "reports" / "published.csv"
HEADER = "dataset,arch,method,weight_bits,activation_bits,top1,top5,confidence,source\n"
LONG_HEADER = HEADER.replace("\n", ",epochs,url,revision\n")


def test_every_published_figure_has_a_source_or_is_empty() -> None:
    lines = read_lines(PUBLISHED, PublishedFigure)
    assert {line.arch for line in lines if line.method.startswith("BD-BNN")} >= {
        "resnet20",
        "resnet18",
        "vgg_small",
    }
    for line in lines:
        assert line.source
        assert (line.top1 is None) == (line.confidence == "not confirmed"), line.method
    irnet = next(line for line in lines if line.method == "IR-Net" and line.arch == "resnet18")
    assert (irnet.top1, irnet.weight_bits, irnet.activation_bits) == (91.5, 1, 1)


def test_a_primary_figure_is_from_the_method_s_own_page() -> None:
    lines = read_lines(PUBLISHED, PublishedFigure)
    primary = [line for line in lines if line.confidence == "primary"]
    assert primary
    for line in primary:
        assert re.split(r"[ (]", line.method)[0].replace("-", "") in line.source.replace("-", "")
        assert line.url and line.revision, line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("dataset,arch\na,b\n", "has no column 'method'"),
        (HEADER + "cifar10,resnet20,X,1,1,901,,primary,there\n", "entry 1: top1 is '901'"),
        (HEADER + "cifar10,resnet20,X,one,1,90,,primary,there\n", "weight_bits is 'one'"),
        (HEADER + 'cifar10,"resnet20', "is not valid CSV"),
        (HEADER + "cifar10,resnet20,X,1,1,90,,surely,there\n", "confidence is 'surely'"),
        (LONG_HEADER + "cifar10,resnet20,X,1,1,90,,primary,there,0,,\n", "epochs is '0'"),
        (
            HEADER + "cifar10,resnet20,X,1,1,90,,primary,th\0ere\n",
            "is not valid CSV (it holds a NUL)",
        ),
        (HEADER + "cifar10,resnet20,X,1,1,90,,primary,there,9\n", "entry 1 has more columns than"),
        ("dataset,dataset\n", "names a column twice"),
        (LONG_HEADER + "cifar10,resnet20,X,1,1,90,,primary,there,,there,\n", "url is 'there'"),
    ],
)
def test_a_malformed_file_is_named_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "published.csv"
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        read_lines(path, PublishedFigure)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv: no such file"):
        read_lines(tmp_path / "none.csv", PublishedFigure)


def test_a_folder_in_its_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no file$"):
        read_lines(tmp_path, PublishedFigure)


def test_notes_are_found_by_checksum() -> None:
    notes = read_lines(ROOT / "reports" / "notes.csv", FileNote)
    origin = {"files": {"train-00000-of-00002.parquet": notes[0].sha256}}
    assert note_on(origin, notes) == notes[0]
    assert notes[0].name == "a 99.8 % bit-exact copy of CIFAR-10"
    assert note_on({"files": {"train-00000-of-00002.parquet": "0" * 64}}, notes) is None
    assert note_on({"package": "scikit-learn"}, notes) is None


def test_every_parameter_of_the_ledger_exists() -> None:
    params = load_params(ROOT / "params.yaml").model_dump()
    ledger = read_lines(ROOT / "reports" / "fidelity.csv", Choice)
    assert len(ledger) >= 20
    for choice in ledger:
        assert choice.ours
        assert choice.why
        for key in choice.parameters.split():
            section, name = key.split(".")
            assert name in params[section], choice.choice


def test_every_tag_of_a_docstring_leads_to_the_page_of_the_method() -> None:
    method = (ROOT / "docs" / "method.md").read_text()
    known = set(re.findall(r"^\| \[(\w+)\] \|", method, re.MULTILINE))
    assert known == {"paper", "released", "field", "inferred"}
    code = "\n".join(path.read_text() for path in (ROOT / "pipeline").rglob("*.py"))
    cited = set(re.findall(r"METHOD\s+\[(\w+)\]", code))
    assert cited and cited <= known
    body = method.partition("## Claim")[2]
    assert all(f"[{tag}]" in body for tag in known)
