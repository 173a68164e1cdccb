import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.reporting import summary, tables
from pipeline.reporting.results import Results, load_results
from pipeline.reporting.sources import PublishedFigure, read_lines
from tests.reporting.synthetic import edit_json, write_results

PUBLISHED = Path(__file__).parents[2] / "reports" / "published.csv"


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Top-1 set by hand: binary 0.90, 0.92; binary-kurtosis 0.93, 0.94, 0.95 with a third seed."""
    folder = tmp_path_factory.mktemp("hand") / "digits"
    write_results(folder, rows=["binary"], layers=1, epochs=2)
    write_results(folder, rows=["binary-kurtosis"], seeds=[1, 2, 3], layers=1, epochs=2)
    for cell, top1 in {
        "binary-1": 0.90,
        "binary-2": 0.92,
        "binary-kurtosis-1": 0.93,
        "binary-kurtosis-2": 0.94,
        "binary-kurtosis-3": 0.95,
    }.items():
        edit_json(folder / f"resnet20-{cell}.json", top1=top1)
    return load_results(folder)


def test_measured_rows_by_hand(by_hand: Results) -> None:
    table = tables.measured(by_hand, "resnet20")
    binary = table.data.set_index("row").loc["binary"]
    assert binary["seeds"] == 2
    assert binary["top1_mean"] == pytest.approx(91)
    assert binary["top1_std"] == pytest.approx(2**0.5)
    assert binary["top1_half_width"] == pytest.approx(12.7062, abs=1e-3)
    shown = table.shown.set_index("Row").loc["Binary alone"]
    assert shown["Top-1, %"] == "91.00 ± 1.41"
    assert shown["95 % interval"] == "± 12.71"
    assert shown["Bits W/A"] == "1/1"


def test_rows_that_were_not_run_stay(by_hand: Results) -> None:
    table = tables.measured(by_hand, "resnet20")
    assert len(table.shown) == 7
    complete = table.shown.set_index("Row").loc["Complete (BD-BNN)"]
    assert list(complete) == ["-", "-", "not run", "-", "-", "-"]
    assert np.isnan(table.data.set_index("row").loc["complete", "top1_mean"])


def test_one_seed_has_no_spread(few_results: Path) -> None:
    shown = tables.measured(load_results(few_results), "resnet20").shown.set_index("Row")
    assert "±" not in shown.loc["Binary alone", "Top-1, %"]
    assert shown.loc["Binary alone", "95 % interval"] == "-"


def test_ablation_is_paired_by_seed(by_hand: Results) -> None:
    table = tables.ablation(by_hand, "resnet20")
    line = table.data.set_index(["row", "against"]).loc[("binary-kurtosis", "binary")]
    # seeds 1 and 2 only: +3 and +2 points
    assert line["seeds"] == 2
    assert line["difference_mean"] == pytest.approx(2.5)
    assert line["difference_std"] == pytest.approx(0.5**0.5)
    assert line["difference_half_width"] == pytest.approx(12.7062 * 0.5, abs=1e-3)
    assert line["verdict"] == "not distinguishable from the seed spread"
    [shown] = [line for _, line in table.shown.iterrows()]
    assert list(shown[["Difference", "Spread", "95 % interval"]]) == ["+2.50", "0.71", "± 6.35"]


def test_a_difference_that_rounds_to_zero_has_no_minus(tmp_path: Path) -> None:
    folder = write_results(tmp_path, rows=["binary", "complete"], seeds=[1], layers=1, epochs=1)
    edit_json(folder / "resnet20-binary-1.json", top1=0.9)
    edit_json(folder / "resnet20-complete-1.json", top1=0.899999)
    shown = tables.ablation(load_results(folder), "resnet20").shown
    assert shown.iloc[-1]["Difference"] == "+0.00"


def test_ablation_names_what_was_not_run(by_hand: Results) -> None:
    table = tables.ablation(by_hand, "resnet20")
    pairs = list(zip(table.data["row"], table.data["against"], strict=True))
    assert pairs == [
        ("kurtosis", "full-precision"),
        ("binary-kurtosis", "binary"),
        ("binary-distillation", "binary"),
        ("binary-mimicking", "binary-distillation"),
        ("complete", "binary-mimicking"),
        ("complete", "binary"),
    ]
    assert list(table.data["verdict"]).count("not run") == 5
    assert len(table.shown) == 1
    text = summary.not_compared(by_hand, "resnet20")
    assert text.startswith("Not run: Full precision + kurtosis against full precision; Binary + d")
    assert "Binary + kurtosis against" not in text


def test_runs_have_one_line_each(by_hand: Results) -> None:
    table = tables.runs(by_hand, "resnet20")
    assert list(table.data["seed"]) == [1, 2, 1, 2, 3]
    assert list(table.shown["Top-1, %"]) == ["90.00", "92.00", "93.00", "94.00", "95.00"]


def test_published_figures_stand_beside_ours(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "cifar10", rows=["full-precision"], seeds=[1], layers=1)
    edit_json(folder / "resnet20-full-precision-1.json", top1=0.925)
    published = read_lines(PUBLISHED, PublishedFigure)
    table = tables.published_beside(load_results(folder), "resnet20", published)
    assert table is not None
    lines = table.shown.set_index("Method")
    assert lines.loc["full precision", "Ours minus it"] == "-"  # its epochs are not known
    best_first = table.data.loc[table.data["weight_bits"] == 1, "top1"].dropna()
    assert best_first.is_monotonic_decreasing
    assert np.isnan(table.data.loc[table.data["weight_bits"] == 1, "top1"].iloc[-1])
    assert lines.loc["IR-Net (bireal)", "Top-1, %"] == "86.50"
    assert lines.loc["IR-Net (bireal)", "Ours minus it"] == "-"  # complete was not run
    assert lines.loc["IR-Net (bireal)", "Source"] == "htqin/IR-Net README (primary)"
    assert lines.loc["IR-Net (bireal)", "Page"].startswith("https://")
    paper = lines.loc["BD-BNN"]
    assert (paper["Top-1, %"], paper["Top-5, %"], paper["Ours minus it"]) == ("-", "-", "-")
    assert paper["Source"] == "not confirmed: enter from the paper, in reports/published.csv"


@pytest.mark.parametrize(("epochs", "difference"), [(12, "+0.80"), (400, "-")])
def test_a_difference_is_given_between_equal_schedules(
    tmp_path: Path, epochs: int, difference: str
) -> None:
    folder = write_results(tmp_path / "cifar10", rows=["full-precision"], seeds=[1], layers=1)
    edit_json(folder / "resnet20-full-precision-1.json", top1=0.925)
    figures = read_lines(PUBLISHED, PublishedFigure)
    [figure] = [f for f in figures if (f.arch, f.method) == ("resnet20", "full precision")]
    same = figure.model_copy(update={"epochs": epochs, "dataset": "cifar10"})
    table = tables.published_beside(load_results(folder), "resnet20", [same])
    assert table is not None
    assert table.shown["Ours minus it"].tolist() == [difference]


def test_no_published_figure_for_digits(by_hand: Results) -> None:
    published = read_lines(PUBLISHED, PublishedFigure)
    assert tables.published_beside(by_hand, "resnet20", published) is None


def test_layers_are_means_over_seeds(shared_results: Path) -> None:
    results = load_results(shared_results)
    table = tables.layers(results, "resnet20")
    assert len(table.data) == 7 * 3
    line = table.data.set_index(["row", "layer"]).loc[("complete", "layer1.0.conv2")]
    seeds = [cell.details.layers[1] for cell in results.seeds("resnet20", "complete")]
    assert line["kurtosis"] == pytest.approx((seeds[0].kurtosis + seeds[1].kurtosis) / 2)
    assert line["target"] == 1.8
    assert table.data.set_index("row").loc["binary", "target"].isna().all()
    assert list(table.shown.columns)[:3] == [
        ("", "Layer"),
        ("", "Weights"),
        ("Near zero, %", "Full precision"),
    ]


def test_relative_teacher_distances_are_shown_where_they_were_measured(own_results: Path) -> None:
    key = "teacher_distance_relative"
    assert key not in tables.layers(load_results(own_results), "resnet20").data
    for seed, distance in ((1, 0.25), (2, 0.75)):
        path = own_results / f"details/resnet20-binary-{seed}.json"
        [layer] = json.loads(path.read_text())["layers"]
        edit_json(path, layers=[layer | {key: distance}])
    table = tables.layers(load_results(own_results), "resnet20")
    assert table.data[key].tolist() == [0.5]
    assert table.shown["Relative teacher distance", "Binary alone"].tolist() == ["5.0e-01"]


def test_cost_groups_rows_and_counts_64_binary_as_one(shared_results: Path) -> None:
    table = tables.cost(load_results(shared_results), "resnet20")
    assert list(table.data["rows"]) == [
        "full-precision kurtosis",
        "binary binary-kurtosis binary-distillation binary-mimicking complete",
    ]
    binary = table.data.iloc[1]
    assert binary["compression"] == pytest.approx(32 * 272_474 / 458_016)
    assert binary["equivalent_real_operations"] == 111_232 + 10_027_008 / 64
    assert binary["saving"] == pytest.approx((111_232 + 10_027_008) / (111_232 + 156_672))
    assert list(table.shown["Compression"]) == ["1.0 x", "19.0 x"]


def test_bits_come_from_the_architecture(own_results: Path) -> None:
    half = {"network": "resnet20", "binarization": {"weights": False, "activations": True}}
    edit_json(own_results / "details" / "resnet20-binary-1.json", architecture=half)
    first, second = load_results(own_results).cells
    assert first.bits == (32, 1)
    assert second.bits == (1, 1)
