import os
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.params import load_params
from pipeline.reporting.sources import Choice, FileNote, PublishedFigure, note_on, read_lines

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "reports" / "published.csv"
HEADER = "dataset,arch,method,weight_bits,activation_bits,top1,top5,confidence,source\n"


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


def test_published_figures_of_others_are_the_collected_ones() -> None:
    collected = Path(os.environ.get("BDBNN_SHARED", "missing"), "reference", "published.csv")
    if not collected.is_file():
        pytest.skip("BDBNN_SHARED names no folder with reference/published.csv")
    ours, theirs = (
        [line for line in read_lines(path, PublishedFigure) if "BD-BNN" not in line.method]
        for path in (PUBLISHED, collected)
    )
    assert ours == theirs


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("dataset,arch\na,b\n", "has no column 'method'"),
        (HEADER + "cifar10,resnet20,X,1,1,901,,primary,there\n", "entry 1: top1 is '901'"),
        (HEADER + "cifar10,resnet20,X,one,1,90,,primary,there\n", "weight_bits is 'one'"),
        (HEADER + 'cifar10,"resnet20', "is not valid CSV"),
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


def test_notes_are_found_by_checksum() -> None:
    notes = read_lines(ROOT / "reports" / "notes.csv", FileNote)
    origin = {"files": {"train-00000-of-00002.parquet": notes[0].sha256}}
    assert note_on(origin, notes) == notes[0]
    assert notes[0].name == "CIFAR-10, 99.8 % bit-exact copy"
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
