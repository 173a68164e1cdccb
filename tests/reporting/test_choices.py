"""The choices of the study: validation alone decides them, with an interval over the seeds."""

from pathlib import Path

import pytest
from scipy.stats import ttest_1samp

from pipeline.reporting import effect_tables, effects
from pipeline.reporting.choices import candidates, choices
from pipeline.reporting.variants import load_study
from tests.reporting.synthetic import edit_json, set_right
from tests.reporting.variants import write_study

BLOCK, ACTIVATION = (
    "network.full_precision_block=bireal",
    "network.full_precision_activation=hardtanh",
)
GAINS = {
    (BLOCK, "full-precision"): (-0.02, -0.03, -0.025),
    (BLOCK, "kurtosis"): (0.02, 0.03, 0.025),
    (BLOCK, "complete"): (-0.02, 0.03, 0.0),
    (ACTIVATION, "full-precision"): (-0.02, -0.02, -0.02),
    (ACTIVATION, "kurtosis"): (0.02, 0.03, 0.025),
    (ACTIVATION, "complete"): (-0.02, -0.03, -0.025),
}
"""Validation top-1 minus that of the default, seed by seed."""


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    table, variants = write_study(tmp_path)
    for (variant, row), gains in GAINS.items():
        for seed, gain in enumerate(gains, start=1):
            default = 0.9 + 0.02 * seed
            edit_json(table / f"resnet20-{row}-{seed}.json", validation_top1=default)
            path = variants / variant / f"resnet20-{row}-{seed}.json"
            edit_json(path, validation_top1=default + gain)
    return table, variants


def test_validation_supports_the_default_or_another_value_or_none(
    folders: tuple[Path, Path],
) -> None:
    block = "on validation where the block of the full-precision network is"
    activation = "on validation where the nonlinearity of the full-precision network is"
    lower = "-2.50 points (95 % interval -3.74 to -1.26, 3 seeds)."
    higher = "+2.50 points (95 % interval +1.26 to +3.74, 3 seeds)."
    assert choices(load_study(*folders)) == [
        f"The full-precision teacher is best {block} plain, so that the default is supported: "
        f"bireal minus plain is {lower}",
        f"The fine-tuned teacher is better {block} bireal than where it is plain, so that the "
        f"default is not supported: bireal minus plain is {higher}",
        f"Whether the student of the complete method is best {block} plain, which is the default, "
        "is undecided: bireal minus plain is +0.33 points (95 % interval -5.92 to +6.58, 3 seeds).",
        f"Whether the full-precision teacher is best {activation} relu, which is the default, is "
        "undecided: hardtanh minus relu is -2.00 points (3 seeds, no interval).",
        f"The fine-tuned teacher is better {activation} hardtanh than where it is relu, so that "
        f"the default is not supported: hardtanh minus relu is {higher}",
        f"The student of the complete method is best {activation} relu, so that the default is "
        f"supported: hardtanh minus relu is {lower}",
    ]


def test_no_test_image_has_a_say(folders: tuple[Path, Path]) -> None:
    before = choices(load_study(*folders))
    for seed in (1, 2, 3):
        for row, right in (("full-precision", 360), ("complete", 100)):
            set_right(folders[1] / BLOCK, f"resnet20-{row}-{seed}", right)
    study = load_study(*folders)
    assert choices(study) == before
    assert not [each for each in effects.answers(study) if "full-precision network" in each]


def test_two_seeds_choose_nothing(tmp_path: Path) -> None:
    table, variants = write_study(tmp_path, seeds=(1, 2))
    for seed, top1 in ((1, 0.1), (2, 0.1001)):
        edit_json(variants / BLOCK / f"resnet20-complete-{seed}.json", validation_top1=top1)
        edit_json(table / f"resnet20-complete-{seed}.json", validation_top1=0.9)
    found = choices(load_study(table, variants))
    assert len(found) == 6
    assert all(sentence.startswith("Whether the ") for sentence in found)


def test_the_table_has_validation_beside_test(folders: tuple[Path, Path]) -> None:
    study = load_study(*folders)
    block = next(question for question in study.levels if question.name == "block")
    table = effect_tables.choice_table(study, block)
    expected = ttest_1samp(GAINS[BLOCK, "full-precision"], 0).confidence_interval()
    [line] = table.data.query("row == 'full-precision' and value == 'bireal'").to_dict("records")
    assert line["validation_difference_mean"] == pytest.approx(-2.5)
    assert line["validation_difference_low"] == pytest.approx(100 * expected.low)
    assert line["validation_difference_high"] == pytest.approx(100 * expected.high)
    assert line["validation_top1_mean"] == pytest.approx(100 * (0.94 - 0.025))
    of_test = [p for p in effects.points(study, block) if p.compared and p.row == "full-precision"]
    assert line["top1_mean"] == pytest.approx(100 * of_test[0].top1.mean)
    assert line["difference_mean"] == pytest.approx(100 * of_test[0].compared.estimate.mean)
    shown = table.shown.set_index(["Network", "Value"])
    assert shown.loc[("Full-precision teacher", "bireal"), "Minus the default, on validation"] == (
        "-2.50 (-3.74 to -1.26)"
    )
    assert shown.loc[("Full-precision teacher", "plain"), "Minus the default, on test"] == (
        "the default"
    )


def test_an_interval_of_validation_stays_possible(folders: tuple[Path, Path]) -> None:
    for seed, top1 in enumerate((0.90, 0.99, 1.0), start=1):
        edit_json(folders[1] / BLOCK / f"resnet20-complete-{seed}.json", validation_top1=top1)
    study = load_study(*folders)
    block = next(question for question in study.levels if question.name == "block")
    [found] = [
        each
        for each in candidates(study, block)
        if each.row == "complete" and each.level.label == "bireal"
    ]
    assert found.top1.high == 1
