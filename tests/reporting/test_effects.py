"""The study: what is read, what is estimated, what is said and what is drawn."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from pipeline.errors import UserError
from pipeline.reporting import effect_tables, effects
from pipeline.reporting.figures import effects as figures
from pipeline.reporting.figures import style
from pipeline.reporting.render import render_study
from pipeline.reporting.site import build
from pipeline.reporting.variants import Question, Study, load_study
from tests.conftest import ROOT
from tests.reporting.synthetic import edit_json, set_right, write_results
from tests.reporting.variants import VARIANTS, write_study, write_variant_results

DEFAULT_RIGHT, HIGHER, LOWER = 330, 350, 300
"""How many of 360 test images."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A study in which the weight of WDM lowers top-1 and the form has no effect."""
    table, variants = write_study(tmp_path_factory.mktemp("study"))
    for path in [*table.glob("*-complete-?.json"), *variants.glob("*/*-complete-?.json")]:
        right = LOWER if "mimicking.weight" in path.parent.name else DEFAULT_RIGHT
        set_right(path.parent, path.stem, right)
    for path in variants.glob("kurtosis.target=1.2/details/*-kurtosis-*.json"):
        _set_depth(path, 0.9 + 0.01 * int(path.stem[-1]))
    for path in variants.glob("kurtosis.target=2.2/details/*-kurtosis-*.json"):
        _set_depth(path, 0.1)
    return table, variants


@pytest.fixture(scope="module")
def study(folders: tuple[Path, Path]) -> Study:
    style.use_style()
    return load_study(*folders)


@pytest.fixture
def own_folders(tmp_path: Path) -> tuple[Path, Path]:
    return write_study(tmp_path, seeds=(1,))


def _set_depth(path: Path, depth: float) -> None:
    layers = json.loads(path.read_text())["layers"]
    edit_json(path, layers=[layer | {"valley_depth": depth} for layer in layers])


def _question(study: Study, name: str) -> Question:
    return next(question for question in study.levels if question.name == name)


def _labels(study: Study, name: str) -> list[str]:
    return [level.label for level in study.levels[_question(study, name)]]


def test_levels_are_in_order_with_the_missing_loss_last(study: Study) -> None:
    assert _labels(study, "target") == ["1.2", "1.8", "2.2", "none", "student alone"]
    assert _labels(study, "kurtosis-weight") == ["0.1", "1", "0"]
    assert _labels(study, "mimicking-weight") == ["200", "2000"]
    assert _labels(study, "form") == ["quantile", "released"]
    assert _labels(study, "sign-gradient") == ["ede", "clipped"]
    assert _labels(study, "block") == ["plain", "bireal"]
    assert _labels(study, "activation") == ["relu", "hardtanh"]
    defaults = [each.label for levels in study.levels.values() for each in levels if each.default]
    assert defaults == ["1.8", "1", "200", "quantile", "ede", "plain", "relu"]


def test_a_missing_loss_is_the_row_of_the_table_without_it(study: Study) -> None:
    *_, none, student_alone = study.levels[_question(study, "target")]
    rows = {row: {cell.metrics.row for cell in cells} for row, cells in none.cells.items()}
    assert rows == {"kurtosis": {"fine-tuned"}, "complete": {"binary-mimicking"}}
    assert list(student_alone.cells) == ["complete"]
    assert student_alone.cells["complete"][0].metrics.row == "complete-untuned"


def test_the_table_takes_part_with_the_seeds_of_the_variants_alone(study: Study) -> None:
    assert study.seeds == (1, 2, 3)
    assert {cell.metrics.seed for cell in study.table.cells} == {1, 2, 3, 4}
    for levels in study.levels.values():
        for cells in (cells for level in levels for cells in level.cells.values()):
            assert [cell.metrics.seed for cell in cells] == [1, 2, 3]


def test_differences_are_to_the_default_and_one_family(study: Study) -> None:
    found = effects.points(study, _question(study, "target"))
    assert [(point.row, point.level.label) for point in found if point.compared is None] == [
        ("kurtosis", "1.8"),
        ("complete", "1.8"),
    ]
    families = {point.compared.family_size for point in found if point.compared}
    assert families == {3 + 4}
    [point] = [
        each
        for each in effects.points(study, _question(study, "mimicking-weight"))
        if each.compared
    ]
    assert point.compared is not None
    assert point.top1.mean == pytest.approx(LOWER / 360)
    assert point.compared.estimate.mean == pytest.approx((LOWER - DEFAULT_RIGHT) / 360)
    assert point.compared.estimate.high < 0


def test_a_sentence_says_that_it_depends_with_the_interval(study: Study) -> None:
    [sentence] = [each for each in effects.answers(study) if "beta of WDM" in each]
    assert re.fullmatch(
        r"Top-1 of the student of the complete method depends on the weight beta of WDM\. Compared "
        r"with 200 it changes by -8\.33 points at 2000 \(-1\d\.\d\d to -\d\.\d\d\); the 95 % "
        r"intervals are those after Holm's correction over 1 comparison, with 3 seeds\.",
        sentence,
    )


def test_a_sentence_says_that_it_does_not_depend(study: Study) -> None:
    [sentence] = [each for each in effects.answers(study) if "form of WDM" in each]
    assert sentence.startswith(
        "Top-1 of the student of the complete method does not depend on the form of WDM by 0.5 "
        "points or more: the 95 % intervals of the differences to quantile reach from +0.00 to "
        "+0.00 points"
    )


def test_a_sentence_says_that_it_is_undecided(folders: tuple[Path, Path], tmp_path: Path) -> None:
    table, variants = (shutil.copytree(each, tmp_path / each.name) for each in folders)
    for seed, right in zip((1, 2, 3), (325, 330, 336), strict=True):
        set_right(variants / "mimicking.form=released", f"resnet20-complete-{seed}", right)
    [sentence] = [each for each in effects.answers(load_study(table, variants)) if "form" in each]
    assert sentence.startswith(
        "Whether top-1 of the student of the complete method depends on the form of WDM is "
        "undecided: no difference to quantile stands out, and their 95 % intervals reach from -"
    )


def test_one_seed_decides_nothing(own_folders: tuple[Path, Path]) -> None:
    table, variants = own_folders
    set_right(table, "resnet20-complete-1", HIGHER)
    set_right(variants / "mimicking.form=released", "resnet20-complete-1", LOWER)
    found = effects.answers(load_study(*own_folders))
    assert len(found) == 2 + 2 + 2 + 1 + 1 + 2
    assert all(sentence.startswith(effects.UNDECIDED) for sentence in found)


def test_the_valley_follows_the_target(study: Study) -> None:
    target = _question(study, "target")
    trend = effects.valley_trend(study, target, "kurtosis")
    assert trend is not None and trend.half_width is not None
    depths = [[0.9 + 0.01 * seed, 0.6, 0.1] for seed in (1, 2, 3)]
    slopes = [np.polyfit([1.2, 1.8, 2.2], each, 1)[0] for each in depths]
    assert trend.mean == pytest.approx(-0.1 * np.mean(slopes))
    assert trend.mean - trend.half_width > 0
    first, second = effects.answers(study)[:2]
    assert first.startswith(
        "A lower target K_T deepens the valley between the modes of the fine-tuned teacher: its "
        f"depth, a mean over the layers, changes by {trend.mean:+.3f} for a target that is 0.1 "
    )
    assert second.startswith("Whether a lower target K_T ")
    assert "(95 % interval " in first


def test_an_interval_of_modes_is_possible(study: Study) -> None:
    cells = study.levels[_question(study, "target")][0].cells["kurtosis"]
    mean, low, high = effects.mode_interval(cells, "valley_depth")
    assert (mean, low < mean < high) == (pytest.approx(0.92), True)
    assert effects.mode_interval(cells, "two_modes") == (1, 1, 1)
    assert effects.mode_interval(cells[:1], "valley_depth") == (0.91, 0.91, 0.91)


def test_tables_hold_every_number_that_is_drawn(study: Study) -> None:
    target = _question(study, "target")
    top1 = effect_tables.top1_table(study, target)
    assert list(top1.data["value"]) == [*_labels(study, "target")[:-1], *_labels(study, "target")]
    assert list(top1.data["default"]) == [value == "1.8" for value in top1.data["value"]]
    others = top1.data[~top1.data["default"]]
    numbers = others[["difference_mean", "difference_low", "difference_high", "holm_p_value"]]
    assert numbers.notna().all(axis=None)
    assert set(top1.shown["In words"]) <= {"the default", "higher", "lower", "no difference shown"}
    modes = effect_tables.modes_table(study, target)
    shown = modes.shown.set_index(["Network", "Value"])["Depth of the valley"]
    assert shown["Fine-tuned teacher", "2.2"] == "0.10"
    assert re.fullmatch(r"0\.92 \(0\.\d\d to 0\.\d\d\)", shown["Fine-tuned teacher", "1.2"])


def _bars(figure: Figure) -> list[list[tuple[float, float]]]:
    """The ends of the intervals of each panel."""
    return [
        [
            (segment[0][1], segment[1][1])
            for lines in axes.collections
            for segment in lines.get_segments()
        ]
        for axes in figure.axes
    ]


def test_every_value_is_drawn_with_its_interval(study: Study) -> None:
    target = _question(study, "target")
    figure = figures.target_effects(study, target)
    bars = _bars(figure)
    found = effects.points(study, target)
    for row, drawn in zip(("kurtosis", "complete"), bars[2:], strict=True):
        expected = [(100 * p.top1.low, 100 * p.top1.high) for p in found if p.row == row]
        assert np.array(drawn) == pytest.approx(np.array(expected))
    assert [len(each) for each in bars] == [9, 9, 4, 5]
    assert all(axes.get_xlabel() and axes.get_title(loc="left") for axes in figure.axes)
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["1.2", "1.8\n(default)", "2.2", "none", "student\nalone"]
    assert style.png(figure).startswith(b"\x89PNG")


def test_weights_are_on_a_log_axis_with_0_at_its_side(study: Study) -> None:
    weights = [_question(study, name) for name in ("kurtosis-weight", "mimicking-weight")]
    figure = figures.top1_by_value(study, weights, together=False)
    assert [len(bars) for bars in _bars(figure)] == [3, 3, 2]
    places = dict(
        zip(
            (label.get_text() for label in figure.axes[0].get_xticklabels()),
            figure.axes[0].get_xticks(),
            strict=True,
        )
    )
    assert places["0"] < places["0.1"] < places["1\n(default)"]
    assert "log scale" in figure.axes[2].get_xlabel()


def test_rows_that_share_a_panel_differ_in_mark_and_colour(study: Study) -> None:
    figure = figures.top1_by_value(study, [_question(study, "sign-gradient")], together=True)
    [axes] = figure.axes
    marks = {
        (line.get_marker(), line.get_color()) for line in axes.lines if line.get_markersize() == 7
    }
    assert len({marker for marker, _ in marks}) == len({colour for _, colour in marks}) == 2


def test_a_variant_that_differs_in_another_parameter_is_refused(
    own_folders: tuple[Path, Path],
) -> None:
    path = own_folders[1] / "mimicking.form=released/details/resnet20-complete-1.json"
    params = json.loads(path.read_text())["params"]
    params["student"]["epochs"] = 3
    edit_json(path, params=params)
    with pytest.raises(UserError, match=r"student\.epochs is 3, where study with mimicking.form=r"):
        load_study(*own_folders)


def test_a_folder_that_does_not_hold_its_variant_is_refused(own_folders: tuple[Path, Path]) -> None:
    folder = own_folders[1] / "mimicking.form=released"
    folder.rename(folder.with_name("mimicking.form=softmax"))
    with pytest.raises(UserError, match=r"mimicking\.form is 'released', where study with "):
        load_study(*own_folders)


def test_other_test_images_are_refused(own_folders: tuple[Path, Path]) -> None:
    path = own_folders[1] / "mimicking.form=released/details/resnet20-complete-1.json"
    manifest = json.loads(path.read_text())["manifest"]
    edit_json(path, manifest=manifest | {"checksums": {"test_images.npy": "ef" * 32}})
    with pytest.raises(UserError, match=r"was evaluated on other test images than study"):
        load_study(*own_folders)


def test_a_table_without_the_default_is_refused(tmp_path: Path) -> None:
    write_results(tmp_path / "study", rows=["binary"], seeds=[1], layers=1, epochs=2)
    variant = tmp_path / "variants" / "mimicking.form=released"
    write_variant_results(variant, ("complete",), (1,))
    with pytest.raises(UserError, match=r"^study: the form of WDM needs the row complete of "):
        load_study(tmp_path / "study", tmp_path / "variants")


def test_no_variants_are_one_line(own_folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: holds no results of variants \(folders section"):
        load_study(own_folders[0], tmp_path / "empty")


@pytest.mark.slow
def test_the_page_is_a_report_of_the_site(folders: tuple[Path, Path], tmp_path: Path) -> None:
    root = tmp_path / "project"
    out = root / "reports" / "study-variants"
    render_study(*folders, out)
    html = (out / "report.html").read_text()
    assert html.count('<a class="picture" href="figures/') == 3
    links = set(re.findall(r'href="((?:tables|figures)/[^"]+)"', html))
    assert links == {str(p.relative_to(out)) for p in out.glob("*/*")}
    assert "depends on the weight beta of WDM" in html
    assert "which is the default, is undecided: hardtanh minus relu is " in html
    assert "redraw: <code>dvc repro tables/study-variants/dvc.yaml:report</code>" in html
    assert str(tmp_path) not in (out / "report.ipynb").read_text()
    assert len(pd.read_csv(out / "tables/top1-sign-gradient.csv")) == 4
    shutil.copytree(folders[0], root / "results" / "study")
    shutil.copytree(folders[1], root / "results" / "study-variants")
    (root / "docs").mkdir()
    (root / "docs" / "method.png").write_bytes(b"a picture")
    shutil.copy(ROOT / "README.md", root)
    for name in ("fidelity.csv", "notes.csv", "published.csv"):
        shutil.copy(ROOT / "reports" / name, root / "reports")
    build(root, tmp_path / "site")
    index = (tmp_path / "site" / "index.html").read_text()
    assert 'href="reports/study-variants/report.html"' in index
    assert not [name for name in VARIANTS if name in index]
