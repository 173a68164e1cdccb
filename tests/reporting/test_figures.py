import io
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pipeline.evaluation.blank_maps import RARE_PERCENT
from pipeline.reporting.estimates import top1
from pipeline.reporting.figures import accuracy, feature_maps, style, weights
from pipeline.reporting.loading import load_results
from pipeline.reporting.results import Results
from pipeline.reporting.rows import ROWS
from pipeline.reporting.schema import Histogram
from pipeline.reporting.sources import PublishedFigure, read_lines
from tests.reporting.synthetic import edit_json, write_results

PUBLISHED = Path(__file__).parents[2] / "reports" / "published.csv"
COLOURS = [row.colour for row in ROWS]


@pytest.mark.parametrize("text", ["a\x01b", "\x1b[31m", "a\ufffeb", "<&-->", "\U0001f600"])
def test_an_svg_is_well_formed_whatever_it_shows(text: str) -> None:
    figure = Figure()
    figure.suptitle(text)
    figure.add_subplot().set_xticks([0], [text])
    assert ElementTree.fromstring(style.svg(figure)).tag.endswith("svg")


def test_a_long_name_of_a_class_is_cut(results: Results) -> None:
    classes = ["n" * 250, *"123456789"]
    figure = accuracy.confusion(results, "resnet20", "binary", classes)
    labels = {label.get_text() for axes in figure.axes for label in axes.get_xticklabels()}
    assert f"{'n' * accuracy.LONGEST_NAME}..." in labels


@pytest.fixture(scope="module")
def results(shared_results: Path) -> Results:
    style.use_style()
    return load_results(shared_results)


@pytest.fixture(scope="module")
def few(few_results: Path) -> Results:
    style.use_style()
    return load_results(few_results)


def _panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.axison]


def _titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def _line_colours(axes: Axes) -> list[str]:
    return [to_hex(line.get_color()) for line in axes.lines]


def test_rows_are_told_apart_by_colour_marker_and_dash() -> None:
    assert len(set(COLOURS)) == len(ROWS)
    assert len({row.marker for row in ROWS}) == len(ROWS)
    assert len({row.dash for row in ROWS}) == len(ROWS)


def test_names_are_no_mathematics(results: Results) -> None:
    figure = Figure()
    assert not figure.text(0, 0, r"$\frac$").get_parse_math()
    classes = [r"$\frac$", *"abcdefghi"]
    accuracy.confusion(results, "resnet20", "complete", classes).savefig(io.BytesIO())


def test_headline_has_a_mean_with_its_interval_and_a_dot_per_seed(results: Results) -> None:
    [axes] = accuracy.headline(results, "resnet20", []).axes
    bars, dots = axes.lines[0::2], axes.lines[1::2]
    assert [to_hex(bar.get_color()) for bar in bars] == COLOURS
    drawn = zip(dots, bars, axes.collections, results.rows("resnet20"), strict=True)
    for dot, bar, interval, (row, cells) in drawn:
        seeds = [100 * cell.metrics.top1 for cell in cells]
        assert list(dot.get_xdata()) == pytest.approx(seeds)
        assert dot.get_marker() == row.marker
        assert bar.get_xdata()[0] == pytest.approx(np.mean(seeds))
        estimate = top1(results, "resnet20", row.name)
        assert estimate is not None
        [[(low, _), (high, _)]] = interval.get_segments()
        assert (low, high) == pytest.approx((100 * estimate.low, 100 * estimate.high))
    texts = [text.get_text() for text in axes.texts]
    assert texts[0] == "mean, 95 % interval"


def test_headline_shows_published_figures_of_the_same_network(few: Results) -> None:
    lines = read_lines(PUBLISHED, PublishedFigure)
    ours, theirs = accuracy.headline(few, "resnet20", lines).axes
    labels = [label.get_text() for label in ours.get_yticklabels()]
    assert labels == ["Full precision", "Binary alone"]
    methods = [label.get_text() for label in theirs.get_yticklabels()]
    assert methods[0] == "full precision (stronger recipe), 32/32 bit"
    assert methods[2] == "AdaBin, 1/1 bit"
    assert [line.get_xdata()[0] for line in theirs.lines][2] == 88.1
    own = [line.get_markerfacecolor() != "white" for line in theirs.lines]
    assert own[:3] == [False, False, True]


def test_training_curves_show_only_what_was_measured(results: Results, few: Results) -> None:
    figure = accuracy.training_curves(results, "resnet20")
    assert [axes.get_title(loc="left") for axes in _panels(figure)] == [
        title for _, title, _, _ in accuracy.CURVES
    ]
    figure = accuracy.training_curves(few, "resnet20")
    titles = [axes.get_title(loc="left") for axes in _panels(figure)]
    assert titles == [
        "Validation top-1, %",
        "Training top-1, %",
        "Cross-entropy",
        "Weights that change sign, %",
    ]


def test_training_curves_average_over_seeds(results: Results) -> None:
    axes = accuracy.training_curves(results, "resnet20").axes[0]
    cells = results.seeds("resnet20", "full-precision")
    values = [100 * cell.curves["validation_top1"] for cell in cells]
    assert np.asarray(axes.lines[0].get_ydata()) == pytest.approx(np.mean(values, axis=0))
    band = axes.collections[0].get_datalim(axes.transData)
    assert (band.y0, band.y1) == pytest.approx((np.min(values), np.max(values)))


def test_fine_tuning_counts_its_epochs_on(results: Results) -> None:
    axes = accuracy.training_curves(results, "resnet20").axes[0]
    found = [list(line.get_xdata()) for line in axes.lines[:4]]
    assert found == [[1, 2, 3, 4], [5, 6, 7, 8], [5, 6, 7, 8], [1, 2, 3, 4]]


def test_logarithmic_axes_say_so(results: Results) -> None:
    for axes in accuracy.training_curves(results, "resnet20").axes:
        if axes.axison:
            assert axes.get_yscale() == ("log" if "log" in axes.get_title(loc="left") else "linear")
    for axes in weights.kurtosis_by_layer(results, "resnet20").axes:
        assert (axes.get_yscale(), axes.get_ylabel()) == ("log", "Kurtosis (log scale)")


def test_histograms_show_teacher_tuned_teacher_and_student(results: Results) -> None:
    figure = weights.weight_histograms(results, "resnet20")
    shown = _panels(figure)
    assert [axes.get_title(loc="left") for axes in shown] == [
        layer.name for layer in results.cells[0].details.layers
    ]
    steps = shown[0].patches
    rows = ("kurtosis", "binary", "complete")
    expected = [row.colour for row in ROWS if row.name in rows]
    assert [to_hex(step.get_edgecolor()) for step in steps[1:]] == expected
    assert len({axes.get_ylim() for axes in shown}) == 1
    density, edges, _ = steps[1].get_data()
    assert np.sum(density * np.diff(edges)) == pytest.approx(1, abs=0.01)
    # two modes: a valley at zero between two peaks
    centre, middle = len(density) // 2, density.max()
    assert density[centre] < 0.5 * middle
    assert density[:centre].max() > 0.8 * middle
    assert density[centre:].max() > 0.8 * middle


def test_small_layers_have_fewer_bins_and_no_outer_ones() -> None:
    counts = [100, *[1, 2, 3] * 19, 0, 100]
    edges = np.linspace(-3, 3, 61).tolist()
    histogram = Histogram(edges=edges, counts={"a": counts})
    sizes = [len(weights.density_of(histogram, "a", n)[0]) for n in (9_999, 99_999, 100_000)]
    assert sizes == [18, 28, 58]
    density, inner = weights.density_of(histogram, "a", 100_000)
    assert (inner[0], inner[-1]) == pytest.approx((-2.9, 2.9))
    assert density[:3] * 0.1 * sum(counts) == pytest.approx([1, 2, 3])


def test_a_teacher_of_another_network_may_have_other_layers(tmp_path: Path) -> None:
    folder = tmp_path / "imagenet"
    write_results(folder, networks=["student"], rows=["binary"], seeds=[1], layers=2, epochs=2)
    write_results(folder, networks=["teacher"], rows=["fine-tuned"], seeds=[1], layers=3, epochs=2)
    edit_json(folder / "details/student-binary-1.json", teacher="teacher-fine-tuned-1")
    figure = weights.weight_histograms(load_results(folder), "student")
    assert len(_panels(figure)) == 2


def test_the_student_is_the_most_complete_row(few: Results) -> None:
    cells = weights.histogram_cells(few, "resnet20")
    assert [cell.name for cell in cells] == ["resnet20-full-precision-1", "resnet20-binary-1"]


def test_kurtosis_stands_against_its_target(results: Results) -> None:
    [axes] = weights.kurtosis_by_layer(results, "resnet20").axes
    assert _line_colours(axes)[: len(ROWS)] == COLOURS
    *ranges, targets = axes.collections
    assert [segment[0][1] for segment in targets.get_segments()] == [1.8] * 3
    complete = [layer.details.layers[0] for layer in results.seeds("resnet20", "complete")]
    ends = sorted(layer.kurtosis for layer in complete)
    assert [y for _, y in ranges[-1].get_segments()[0]] == pytest.approx(ends)


def test_kurtosis_over_epochs_has_a_line_per_layer(results: Results, few: Results) -> None:
    figure = weights.kurtosis_over_epochs(results, "resnet20")
    *shown, bar = _panels(figure)
    assert [label.get_text() for label in bar.get_yticklabels()] == [
        "first\nlayer1.0.conv1",
        "last\nlayer1.1.conv1",
    ]
    lines = {axes.get_title(loc="left"): len(axes.lines) for axes in shown}
    assert lines["Binary alone"] == 3
    assert lines["Binary + kurtosis"] == 3 + 1  # and the target
    assert len({axes.get_ylim() for axes in shown}) == 1
    assert len(_panels(weights.kurtosis_over_epochs(few, "vgg_small"))) == 2 + 1


def test_layer_statistics_leave_out_what_has_no_teacher(results: Results) -> None:
    _, _, distance = weights.layer_statistics(results, "resnet20").axes
    assert [len(line.get_xdata()) for line in distance.lines] == [3] * 8
    assert _line_colours(distance) == COLOURS[1:]
    assert distance.get_ylabel().endswith("/ teacher's variance (log scale)")
    [complete] = [cell for cell in results.seeds("resnet20", "complete") if cell.metrics.seed == 1]
    [other] = [cell for cell in results.seeds("resnet20", "complete") if cell.metrics.seed == 2]
    both = [cell.details.layers[0].teacher_distance_relative for cell in (complete, other)]
    assert distance.lines[-1].get_ydata()[0] == pytest.approx(np.mean(both))


def test_feature_maps_are_a_grid_of_bits_and_kurtosis(results: Results) -> None:
    figure = feature_maps.feature_maps(results, "resnet20")
    assert _titles(figure) == [
        "32 bit: Full precision, fine-tuned\nblack -1, white +1",
        "32 bit: Full precision, fine-tuned + kurtosis\nblack -1, white +1",
        "1 bit: Binary alone\n1 of 16 blank",
        "1 bit: Binary + kurtosis\n1 of 16 blank",
        "Test image",
    ]
    [frame] = [patch for patch in figure.axes[2].patches if isinstance(patch, Rectangle)]
    # map 3 of 4 columns, each 16 pixels and a gap of one
    assert frame.get_xy() == (3 * 17 - 0.5, -0.5)
    assert len(figure.axes[0].patches) == 0


def test_a_map_with_few_pixels_of_one_sign_is_blank() -> None:
    assert feature_maps.RARE_PERCENT == RARE_PERCENT
    maps = np.ones((3, 16, 16), np.int8)
    maps[1, 0, :2] = -1  # 0.8 %
    maps[2, 0, :3] = -1  # 1.2 %
    assert feature_maps.is_blank(maps).tolist() == [True, True, False]


def test_a_feature_map_panel_says_what_was_not_run(few: Results) -> None:
    titles = _titles(feature_maps.feature_maps(few, "resnet20"))
    assert titles[1] == "Full precision, fine-tuned + kurtosis: not run"
    assert titles[3] == "Binary + kurtosis: not run"


def test_the_image_beside_the_feature_maps_may_be_a_pixel_high(few: Results) -> None:
    cells = [
        replace(cell, feature_maps=cell.feature_maps | {"image": np.zeros((3, 1, 1), np.uint8)})
        for cell in few.cells
    ]
    figure = feature_maps.feature_maps(Results("flat", tuple(cells)), "resnet20")
    assert figure.axes[-1].images[0].get_array().shape == (1, 1, 3)


def test_no_panel_of_the_feature_maps_was_run(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "d", rows=["binary-mimicking"], seeds=[1], layers=1)
    titles = _titles(feature_maps.feature_maps(load_results(folder), "resnet20"))
    assert [title.endswith("not run") for title in titles] == [True] * 4 + [False]


def test_the_complete_row_stands_in_for_binary_with_kurtosis(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "digits", rows=["complete"], seeds=[1], layers=1)
    titles = _titles(feature_maps.feature_maps(load_results(folder), "resnet20"))
    assert titles[3] == "1 bit: Complete (BD-BNN)\n1 of 16 blank"


def test_confusion_is_the_mean_over_seeds_and_the_difference_to_binary_alone(
    results: Results,
) -> None:
    classes = ["zero", *"123456789"]
    figure = accuracy.confusion(results, "resnet20", "complete", classes)
    complete, difference, *_ = figure.axes
    assert sum(float(text.get_text()) for text in complete.texts) == pytest.approx(360)
    assert sum(float(text.get_text()) for text in difference.texts) == pytest.approx(0, abs=1e-6)
    assert _titles(figure)[:2] == [
        "Complete (BD-BNN): images, mean of 2 seeds",
        "Complete (BD-BNN) minus binary alone",
    ]
    assert [label.get_text() for label in complete.get_xticklabels()] == classes


def test_binary_alone_has_nothing_to_differ_from(few: Results) -> None:
    figure = accuracy.confusion(few, "resnet20", "binary", list("0123456789"))
    assert _titles(figure)[0] == "Binary alone: images, one seed"
    assert len(figure.axes) == 2  # with its colour bar


def test_the_same_figure_has_the_same_bytes(results: Results) -> None:
    drawn = []
    for _ in range(2):
        buffer = io.BytesIO()
        accuracy.headline(results, "resnet20", []).savefig(buffer, metadata={"Software": None})
        drawn.append(buffer.getvalue())
    assert drawn[0] == drawn[1]


def test_the_numbers_of_the_confusion_are_the_counts_that_are_drawn(results: Results) -> None:
    classes = [f"class {index}" for index in range(10)]
    found = accuracy.confusion_numbers(results, "resnet20", "complete", classes)
    assert set(found["row"]) == {"complete", "binary"}
    images = len(results.cells[0].outcomes)
    assert (found.groupby("row")["images"].sum() == images).all()
    right = found[(found["row"] == "complete") & (found["true"] == found["predicted"])]
    (complete,) = [top1(results, "resnet20", "complete")]
    assert right["images"].sum() / images == pytest.approx(complete.mean)


def test_the_numbers_of_the_histograms_are_densities(results: Results) -> None:
    found = weights.histogram_numbers(results, "resnet20")
    assert len(found["row"].unique()) == 4
    mass = (found["density"] * (found["high"] - found["low"])).groupby(
        [found["row"], found["layer"]]
    )
    assert mass.sum().between(0.5, 1).all(), "the outer bins are not drawn"
