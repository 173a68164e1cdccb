from pathlib import Path

import pytest

from pipeline.reporting.claims import verdict_table, verdicts
from pipeline.reporting.comparisons import Compared, Estimate
from pipeline.reporting.estimates import in_words
from pipeline.reporting.loading import load_results
from pipeline.reporting.sources import PublishedFigure
from pipeline.reporting.verdicts import CLAIMS, Verdict
from tests.reporting.synthetic import edit_json, set_right, write_results

RIVAL = PublishedFigure(
    dataset="cifar10",
    arch="resnet20",
    method="Rival",
    weight_bits=1,
    activation_bits=1,
    top1=85.0,
    top5=None,
    confidence="primary",
    source="its README",
    epochs=14,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of all rows: complete has 340 to 342 images right, binary alone 300 to 302."""
    folder = write_results(tmp_path_factory.mktemp("claims") / "cifar10-full", seeds=[1, 2, 3])
    for seed in (1, 2, 3):
        set_right(folder, f"resnet20-complete-{seed}", 339 + seed)
        set_right(folder, f"resnet20-binary-{seed}", 299 + seed)
    return folder


def _verdicts(folder: Path, *published: PublishedFigure) -> dict[str, Verdict]:
    found = verdicts(load_results(folder), "digits", published)["resnet20"]
    assert [each.claim for each in found] == list(CLAIMS)
    return {each.claim.key: each for each in found}


def test_every_claim_is_judged_on_the_results(folder: Path) -> None:
    found = _verdicts(folder, RIVAL)
    assert {each.outcome for each in found.values()} == {"undecided", "holds"}
    bimodal = found["bimodal"]
    assert bimodal.result == (
        "tuned teacher: 3 of 3 layers, mean kurtosis 1.62 (3 seeds); "
        "complete student: 3 of 3 layers, mean kurtosis 1.61 (3 seeds)"
    )
    assert found["mimicked"].outcome == "holds"  # distances are a tenth with WDM
    assert found["mimicked"].result.startswith(
        "binary + distillation + WDM against binary + distillation: ratio of the distances"
    )
    accurate = found["accurate"]
    assert accurate.outcome == "holds"
    assert accurate.result.startswith("+11.11 points (95 % interval +")
    assert "after Holm's correction over 8 comparisons; 3 seeds" in accurate.result
    # 400 fewer of 17280 maps less at each seed: nothing varies between seeds
    assert found["structured-maps"].reason == "the same at 3 seeds: no interval over seeds"
    # the table cifar10-full is CIFAR-10, and 14 epochs are as many as the rival's
    assert found["state-of-the-art"].outcome == "holds"
    assert found["state-of-the-art"].result.endswith("; highest published: Rival, 85.00 %")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epochs": 15}, "schedules not comparable: 14 epochs here, 15 there"),
        ({"weight_bits": 32}, "no published figure for this data and network"),
        ({"dataset": "imagenet"}, "no published figure for this data and network"),
        ({"arch": "vgg_small"}, "no published figure for this data and network"),
        ({"top1": None}, "no published figure for this data and network"),
    ],
)
def test_only_comparable_figures_are_rivals(
    folder: Path, changes: dict[str, object], reason: str
) -> None:
    found = _verdicts(folder, RIVAL.model_copy(update=changes))["state-of-the-art"]
    assert (found.outcome, found.reason) == ("undecided", reason)


def test_without_the_ablation_wdm_is_judged_on_the_complete_method(tmp_path: Path) -> None:
    rows = ["full-precision", "fine-tuned", "kurtosis", "binary", "complete"]
    found = _verdicts(write_results(tmp_path, rows=rows, seeds=[1, 2], layers=2))
    assert found["mimicked"].result.startswith("complete (BD-BNN) against binary alone")


def test_a_teacher_of_another_network_is_found_by_its_name(tmp_path: Path) -> None:
    student, teacher = "imagenet_resnet18", "torchvision_resnet18"
    write_results(tmp_path, networks=[student], rows=["binary", "complete"], layers=2)
    write_results(tmp_path, networks=[teacher], rows=["full-precision", "kurtosis"], layers=2)
    for seed in (1, 2):
        path = tmp_path / f"details/{student}-complete-{seed}.json"
        edit_json(path, teacher=f"{teacher}-kurtosis-{seed}")
    found = verdicts(load_results(tmp_path), "ten classes", [])
    assert list(found) == [student]  # a network without 1-bit rows is not judged
    assert found[student][0].result.startswith("tuned teacher: 2 of 2 layers, mean ")


def test_a_table_without_the_method_leaves_every_claim_undecided(own_results: Path) -> None:
    found = _verdicts(own_results, RIVAL)
    assert {(each.outcome, each.result) for each in found.values()} == {("undecided", "not run")}


def test_pairs_are_of_common_seeds(tmp_path: Path) -> None:
    write_results(tmp_path, rows=["binary"], seeds=[1, 2, 3], layers=1)
    write_results(tmp_path, rows=["complete"], seeds=[2, 3, 4], layers=1)
    for row, seed, right in (("binary", 2, 300), ("complete", 2, 318), ("binary", 3, 300)):
        set_right(tmp_path, f"resnet20-{row}-{seed}", right)
    set_right(tmp_path, "resnet20-complete-3", 300, last=True)  # as many, but other images
    accurate = _verdicts(tmp_path)["accurate"]
    assert accurate.result.startswith("+2.50 points")
    assert "2 seeds" in accurate.result


@pytest.mark.parametrize(
    ("low", "high", "p_value", "seeds", "words"),
    [
        (0.01, 0.03, 0.04, 3, "higher"),
        (-0.03, -0.01, 0.04, 3, "lower"),
        (-0.01, 0.03, 0.20, 3, "no difference shown"),
        (0.01, 0.03, 0.06, 1, "no difference shown; one seed is too few"),
        (-0.01, 0.03, 0.04, 2, "no difference shown; 2 seeds are too few"),
    ],
)
def test_a_difference_is_called_so_by_interval_and_p_value_alike(
    low: float, high: float, p_value: float, seeds: int, words: str
) -> None:
    estimate = Estimate(seeds, 360, (low + high) / 2, low, high, 0.95)
    assert in_words(Compared(estimate, p_value / 8, "a family", 8, p_value, estimate)) == words


def test_the_table_has_a_line_for_each_claim(folder: Path) -> None:
    table = verdict_table(verdicts(load_results(folder), "digits", []))
    assert table.data["claim"].tolist() == [claim.key for claim in CLAIMS]
    assert table.data["threshold"].tolist() == [claim.threshold for claim in CLAIMS]
    first = table.shown.iloc[0]
    assert first["Claim of the paper"].startswith("Abstract: The kurtosis loss makes")
    assert first["Outcome"] == "holds"
    assert first["Result"].startswith("tuned teacher: ")
    assert first["Rule"] == CLAIMS[0].rule
