from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from pipeline.reporting import summary, tables
from pipeline.reporting.loading import load_results
from pipeline.reporting.results import Results
from pipeline.reporting.sources import PublishedFigure, read_lines
from tests.reporting.synthetic import edit_json, set_right, write_results

PUBLISHED = Path(__file__).parents[2] / "reports" / "published.csv"


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Top-1 set by hand: binary 90 and 92.5 %; binary-kurtosis 95, 95 and 97.5 %."""
    folder = tmp_path_factory.mktemp("hand") / "digits"
    write_results(folder, rows=["binary"], layers=1, epochs=2)
    write_results(folder, rows=["binary-kurtosis"], seeds=[1, 2, 3], layers=1, epochs=2)
    for cell, right in {
        "binary-1": 324,
        "binary-2": 333,
        "binary-kurtosis-1": 342,
        "binary-kurtosis-2": 342,
        "binary-kurtosis-3": 351,
    }.items():
        set_right(folder, f"resnet20-{cell}", right)
    return load_results(folder)


def test_measured_rows_by_hand(by_hand: Results) -> None:
    table = tables.measured(by_hand, "resnet20")
    binary = table.data.set_index("row").loc["binary"]
    assert binary["seeds"] == 2
    assert binary["top1_mean"] == pytest.approx(91.25)
    assert binary["top1_std"] == pytest.approx(2.5 / 2**0.5)
    # about 91.25 -+ 1.96 sqrt(1.25^2 / 2 + 91.25 * 8.75 / 360), the seeds having common images
    assert (binary["top1_low"], binary["top1_high"]) == pytest.approx((88, 94.2), abs=0.6)
    shown = table.shown.set_index("Row").loc["Binary alone"]
    assert shown["Top-1, %"] == "91.25 ± 1.77"
    assert shown["Interval"] == f"{binary['top1_low']:.2f} to {binary['top1_high']:.2f}"
    assert shown["Bits W/A"] == "1/1"


def test_rows_that_were_not_run_stay(by_hand: Results) -> None:
    table = tables.measured(by_hand, "resnet20")
    assert len(table.shown) == 9
    complete = table.shown.set_index("Row").loc["Complete (BD-BNN)"]
    assert list(complete) == ["-", "-", "not run", "-", "-", "-"]
    assert np.isnan(table.data.set_index("row").loc["complete", "top1_mean"])


def test_one_seed_has_no_spread(few_results: Path) -> None:
    results = load_results(few_results)
    shown = tables.measured(results, "resnet20").shown.set_index("Row")
    assert "±" not in shown.loc["Binary alone", "Top-1, %"]
    [binary] = results.seeds("resnet20", "binary")
    ends = binomtest(binary.outcomes.sum(), len(binary.outcomes)).proportion_ci(method="wilson")
    low, high = (f"{100 * end:.2f}" for end in ends)
    assert shown.loc["Binary alone", "Interval"] == f"{low} to {high}"


def test_ablation_is_paired_by_seed_and_image(by_hand: Results) -> None:
    table = tables.ablation(by_hand, "resnet20")
    line = table.data.set_index(["row", "against"]).loc[("binary-kurtosis", "binary")]
    # seeds 1 and 2 only: +18 and +9 of 360 images, all of which binary alone has wrong
    assert (line["seeds"], line["comparisons"]) == (2, 1)
    assert line["difference_mean"] == pytest.approx(3.75)
    # were the images not paired, the interval would be about 4 points wide to either side
    assert 0 < line["difference_low"] < 2.5
    assert 5 < line["difference_high"] < 8
    assert (line["holm_low"], line["holm_p_value"]) == (line["difference_low"], line["p_value"])
    assert line["in_words"] == "higher; 2 seeds are too few"
    [shown] = [line for _, line in table.shown.iterrows()]
    assert shown["Difference"] == "+3.75"
    assert shown["Interval"] == f"{line['difference_low']:+.2f} to {line['difference_high']:+.2f}"


def test_one_seed_is_compared_by_its_images(tmp_path: Path) -> None:
    folder = write_results(tmp_path, rows=["binary", "complete"], seeds=[1], layers=1, epochs=1)
    set_right(folder, "resnet20-binary-1", 324)
    set_right(folder, "resnet20-complete-1", 330)
    line = tables.ablation(load_results(folder), "resnet20").data.iloc[-1]
    assert line["p_value"] == pytest.approx(2 * 0.5**6)  # six gained and none lost
    assert line["in_words"] == "higher; one seed is too few"
    set_right(folder, "resnet20-complete-1", 344)
    shown = tables.ablation(load_results(folder), "resnet20").shown.iloc[-1]
    assert shown["p"] == shown["p after Holm"] == "<0.001"


def test_a_difference_that_rounds_to_zero_has_no_minus(tmp_path: Path) -> None:
    folder = write_results(tmp_path, rows=["binary", "complete"], seeds=[1], layers=1, epochs=1)
    for row in ("binary", "complete"):
        set_right(folder, f"resnet20-{row}-1", 324)
    shown = tables.ablation(load_results(folder), "resnet20").shown
    assert shown.iloc[-1]["Difference"] == "+0.00"
    assert shown.iloc[-1]["In words"] == "no difference shown; one seed is too few"


def test_ablation_names_what_was_not_run(by_hand: Results) -> None:
    table = tables.ablation(by_hand, "resnet20")
    pairs = list(zip(table.data["row"], table.data["against"], strict=True))
    assert pairs == [
        ("fine-tuned", "full-precision"),
        ("kurtosis", "fine-tuned"),
        ("binary-kurtosis", "binary"),
        ("binary-distillation", "binary"),
        ("binary-mimicking", "binary-distillation"),
        ("complete-untuned", "binary-mimicking"),
        ("complete", "complete-untuned"),
        ("complete", "binary"),
    ]
    assert list(table.data["in_words"]).count("not run") == 7
    assert len(table.shown) == 1
    text = summary.not_compared(by_hand, "resnet20")
    assert text.startswith("Not run: full precision, fine-tuned against full precision; full prec")
    assert "Binary + kurtosis against" not in text


def test_all_comparisons_of_a_network_are_one_family(shared_results: Path) -> None:
    data = tables.ablation(load_results(shared_results), "resnet20").data
    assert set(data["comparisons"]) == {8}
    least = data["p_value"].idxmin()
    assert data.loc[least, "holm_p_value"] == min(8 * data.loc[least, "p_value"], 1)


def test_runs_have_one_line_each(by_hand: Results) -> None:
    table = tables.runs(by_hand, "resnet20")
    assert list(table.data["seed"]) == [1, 2, 1, 2, 3]
    assert list(table.shown["Top-1, %"]) == ["90.00", "92.50", "95.00", "95.00", "97.50"]


def test_published_figures_stand_beside_ours(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "cifar10", rows=["full-precision"], seeds=[1], layers=1)
    set_right(folder, "resnet20-full-precision-1", 333)
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
    set_right(folder, "resnet20-full-precision-1", 333)
    figures = read_lines(PUBLISHED, PublishedFigure)
    [figure] = [f for f in figures if (f.arch, f.method) == ("resnet20", "full precision")]
    same = figure.model_copy(update={"epochs": epochs, "dataset": "cifar10"})
    table = tables.published_beside(load_results(folder), "resnet20", [same])
    assert table is not None
    assert table.shown["Ours minus it"].tolist() == [difference]
    assert (table.shown["Interval"][0] == "-") == (difference == "-")


def test_no_published_figure_for_digits(by_hand: Results) -> None:
    published = read_lines(PUBLISHED, PublishedFigure)
    assert tables.published_beside(by_hand, "resnet20", published) is None


def test_layers_are_means_over_seeds(shared_results: Path) -> None:
    results = load_results(shared_results)
    table = tables.layers(results, "resnet20")
    assert len(table.data) == 9 * 3
    line = table.data.set_index(["row", "layer"]).loc[("complete", "layer1.0.conv2")]
    seeds = [cell.details.layers[1] for cell in results.seeds("resnet20", "complete")]
    assert line["kurtosis"] == pytest.approx((seeds[0].kurtosis + seeds[1].kurtosis) / 2)
    assert line["target"] == 1.8
    assert table.data.set_index("row").loc["binary", "target"].isna().all()
    assert list(table.shown.columns)[:3] == [
        ("", "Layer"),
        ("", "Weights"),
        ("Near zero, %", "Full precision, fine-tuned"),
    ]


def test_modes_are_told_layer_by_layer(shared_results: Path) -> None:
    table = tables.modes(load_results(shared_results), "resnet20")
    of_row = table.data.set_index("row")[["two_modes", "valley_depth", "dip_p_value"]]
    assert of_row.loc["complete"].to_numpy().tolist() == [[1, 0.6, 0.001]] * 3
    assert of_row.loc["binary"].to_numpy().tolist() == [[0, 0, 0.9]] * 3
    assert table.shown["Two modes, % of seeds", "Complete (BD-BNN)"].tolist() == ["100"] * 3
    assert table.shown["p of the dip test", "Binary alone"].tolist() == ["0.9"] * 3


def test_kurtosis_before_and_after_training(own_results: Path) -> None:
    results = load_results(own_results)
    line = tables.kurtosis(results, "resnet20").data.iloc[0]
    after = [cell.details.layers[0].kurtosis for cell in results.cells]
    assert line["before"] == pytest.approx(3)  # as the synthetic curves begin
    assert line["after"] == pytest.approx(sum(after) / 2)
    assert (line["least"], line["greatest"]) == (min(after), max(after))
    assert line["distance"] is None


def test_blank_maps_are_counted_over_all_images(shared_results: Path, tmp_path: Path) -> None:
    table = tables.blank_maps(load_results(shared_results), "resnet20")
    assert table is not None
    assert table.data.iloc[0].to_dict() == {
        "row": "binary",
        "seed": 1,
        "maps": 5760,
        "blank": 310,
        "share": 310 / 5760,
    }
    assert len(table.data) == 2 * len(table.shown) == 2 * 6
    first = table.shown.iloc[0]
    assert first["Blank, mean, %"] == f"{100 * 315 / 5760:.3f}"
    assert first["Blank at each seed, %"] == "5.382 to 5.556"
    real = write_results(tmp_path / "digits", rows=["full-precision"], seeds=[1], layers=1)
    assert tables.blank_maps(load_results(real), "resnet20") is None


def test_cost_groups_rows_and_counts_64_binary_as_one(shared_results: Path) -> None:
    table = tables.cost(load_results(shared_results), "resnet20")
    assert list(table.data["rows"]) == [
        "full-precision fine-tuned kurtosis",
        "binary binary-kurtosis binary-distillation binary-mimicking complete-untuned complete",
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
