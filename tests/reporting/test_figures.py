from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pipeline.reporting.figures import accuracy, feature_maps, style, weights
from pipeline.reporting.results import Results, load_results
from pipeline.reporting.rows import ROWS
from pipeline.reporting.sources import PublishedFigure, read_lines
from tests.reporting.synthetic import write_results

PUBLISHED = Path(__file__).parents[2] / "reports" / "published.csv"
COLOURS = [row.colour for row in ROWS]


@pytest.fixture(scope="module")
def results(shared_results: Path) -> Results:
    style.use_style()
    return load_results(shared_results)


@pytest.fixture(scope="module")
def few(few_results: Path) -> Results:
    return load_results(few_results)


def _panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.axison]


def _titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def _line_colours(axes: Axes) -> list[str]:
    return [to_hex(line.get_color()) for line in axes.lines]


def test_rows_have_colours_of_their_own() -> None:
    assert len(set(COLOURS)) == len(ROWS)


def test_headline_has_a_dot_per_seed_and_a_bar_at_the_mean(results: Results) -> None:
    [axes] = accuracy.headline(results, "resnet20", []).axes
    dots, bars = axes.lines[0::2], axes.lines[1::2]
    assert [to_hex(bar.get_color()) for bar in bars] == COLOURS
    for dot, bar, (_, cells) in zip(dots, bars, results.rows("resnet20"), strict=True):
        expected = [100 * cell.metrics.top1 for cell in cells]
        assert list(dot.get_xdata()) == pytest.approx(expected)
        assert bar.get_xdata()[0] == pytest.approx(np.mean(expected))


def test_headline_shows_published_figures_of_the_same_network(few: Results) -> None:
    lines = read_lines(PUBLISHED, PublishedFigure)
    [axes] = accuracy.headline(few, "resnet20", lines).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [
        "Full precision",
        "Binary alone",
        "Published, 32 bit (2)",
        "Published, 1 bit (15)",
    ]
    assert max(axes.lines[-1].get_xdata()) == 88.1


def test_training_curves_show_only_what_was_measured(results: Results, few: Results) -> None:
    assert _titles(accuracy.training_curves(results, "resnet20")) == [
        title for _, title, _, _ in accuracy.CURVES
    ]
    figure = accuracy.training_curves(few, "resnet20")
    titles = [axes.get_title(loc="left") for axes in _panels(figure)]
    assert titles == [
        "Validation top-1, %",
        "Training top-1, %",
        "Cross-entropy",
        "Binary weights that change sign, %",
        "Learning rate",
    ]


def test_training_curves_average_over_seeds(results: Results) -> None:
    axes = accuracy.training_curves(results, "resnet20").axes[0]
    cells = results.seeds("resnet20", "full-precision")
    mean = next(line for line in axes.lines if line.get_linewidth() > 1)
    assert mean.get_linestyle() == "--"
    expected = 100 * np.mean([cell.curves["validation_top1"] for cell in cells], axis=0)
    assert np.asarray(mean.get_ydata()) == pytest.approx(expected)


def test_histograms_show_teacher_tuned_teacher_and_student(results: Results) -> None:
    figure = weights.weight_histograms(results, "resnet20")
    shown = _panels(figure)
    assert [axes.get_title(loc="left") for axes in shown] == [
        layer.name for layer in results.cells[0].details.layers
    ]
    steps = shown[0].patches
    rows = ("full-precision", "kurtosis", "complete")
    expected = [row.colour for row in ROWS if row.name in rows]
    found = [steps[0].get_facecolor(), *(step.get_edgecolor() for step in steps[1:])]
    assert [to_hex(colour) for colour in found] == expected
    density, edges, _ = steps[1].get_data()
    assert np.sum(density * np.diff(edges)) == pytest.approx(1)
    # two modes: a valley at zero between two peaks
    centre, middle = len(density) // 2, density.max()
    assert density[centre] < 0.5 * middle
    assert density[:centre].max() > 0.8 * middle
    assert density[centre:].max() > 0.8 * middle


def test_the_student_is_the_most_complete_row(few: Results) -> None:
    cells = weights.histogram_cells(few, "resnet20")
    assert [cell.name for cell in cells] == ["resnet20-full-precision-1", "resnet20-binary-1"]


def test_kurtosis_stands_against_its_target(results: Results) -> None:
    [axes] = weights.kurtosis_by_layer(results, "resnet20").axes
    assert _line_colours(axes) == COLOURS
    # three layers of three rows with the kurtosis loss
    assert len(axes.collections) == 9
    for target in axes.collections:
        assert target.get_segments()[0][0][1] == 1.8


def test_kurtosis_over_epochs_has_a_line_per_layer(results: Results, few: Results) -> None:
    figure = weights.kurtosis_over_epochs(results, "resnet20")
    lines = {axes.get_title(loc="left"): len(axes.lines) for axes in _panels(figure)}
    assert lines["Binary alone"] == 3
    assert lines["Binary + kurtosis"] == 3 + 1  # and the target
    limits = {axes.get_ylim() for axes in _panels(figure)}
    assert len(limits) == 1
    assert len(_panels(weights.kurtosis_over_epochs(few, "vgg_small"))) == 2


def test_layer_statistics_leave_out_what_has_no_teacher(results: Results) -> None:
    near_zero, error, distance = weights.layer_statistics(results, "resnet20").axes
    assert near_zero.get_ylim()[0] == error.get_ylim()[0] == 0
    drawn = [len(line.get_xdata()) for line in distance.lines]
    assert drawn == [0, 0, 3, 3, 3, 3, 3]


def test_feature_maps_are_a_grid_of_bits_and_kurtosis(results: Results) -> None:
    figure = feature_maps.feature_maps(results, "resnet20")
    assert _titles(figure) == [
        "32 bit: Full precision",
        "32 bit: Full precision + kurtosis",
        "1 bit: Binary alone (1 of 16 blank)",
        "1 bit: Binary + kurtosis (1 of 16 blank)",
        "Test image",
    ]
    [frame] = [patch for patch in figure.axes[2].patches if isinstance(patch, Rectangle)]
    # map 3 of 4 columns, each 16 pixels and a frame of one wide
    assert frame.get_xy() == (3 * 18 - 0.5, -0.5)
    assert len(figure.axes[0].patches) == 0


def test_a_feature_map_panel_says_what_was_not_run(few: Results) -> None:
    titles = _titles(feature_maps.feature_maps(few, "resnet20"))
    assert titles[1] == "Full precision + kurtosis: not run"
    assert titles[3] == "Binary + kurtosis: not run"


def test_no_panel_of_the_feature_maps_was_run(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "d", rows=["binary-mimicking"], seeds=[1], layers=1)
    titles = _titles(feature_maps.feature_maps(load_results(folder), "resnet20"))
    assert [title.endswith("not run") for title in titles] == [True] * 4 + [False]


def test_the_complete_row_stands_in_for_binary_with_kurtosis(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "digits", rows=["complete"], seeds=[1], layers=1)
    titles = _titles(feature_maps.feature_maps(load_results(folder), "resnet20"))
    assert titles[3] == "1 bit: Complete (BD-BNN) (1 of 16 blank)"


def test_confusion_sums_the_seeds(results: Results) -> None:
    axes = accuracy.confusion(results, "resnet20", "complete").axes[0]
    counts = sum(int(text.get_text()) for text in axes.texts)
    assert counts == 2 * 360
    assert [label.get_text() for label in axes.get_xticklabels()] == list("0123456789")
