from pathlib import Path

from pipeline.reporting import summary
from pipeline.reporting.results import load_results
from tests.reporting.synthetic import edit_json, write_results


def _confusion(**errors: int) -> list[list[int]]:
    """36 images of each class; `from_4_to_9=2` moves two of them."""
    counts = [[36 if true == predicted else 0 for predicted in range(10)] for true in range(10)]
    for pair, count in errors.items():
        _, true, _, predicted = pair.split("_")
        counts[int(true)][int(true)] -= count
        counts[int(true)][int(predicted)] += count
    return counts


def test_cards_name_rows_that_were_not_run(few_results: Path) -> None:
    cards = summary.cards(load_results(few_results), "resnet20")
    assert [card.label for card in cards] == [
        "Full precision",
        "Binary alone",
        "Complete (BD-BNN)",
    ]
    assert cards[1].under == "test top-1, single seed; weights 1 bit, activations 1 bit"
    assert (cards[2].figure, cards[2].under) == ("not run", "")


def test_conclusion_compares_the_complete_method(shared_results: Path, tmp_path: Path) -> None:
    text = summary.conclusion(load_results(shared_results), "resnet20")
    assert text.startswith("ResNet-20, Complete (BD-BNN): ")
    assert "Against full precision: -" in text
    assert "Against binary alone: +" in text
    assert text.endswith("Compression: 19.0 x.")
    alone = write_results(tmp_path / "digits", rows=["full-precision"], seeds=[1], layers=1)
    edit_json(alone / "resnet20-full-precision-1.json", top1=0.5)
    assert summary.conclusion(load_results(alone), "resnet20") == (
        "ResNet-20, Full precision: 50.00 % test top-1 (single seed). Compression: 1.0 x."
    )


def test_kurtosis_distances_of_rows_with_a_target(shared_results: Path, few_results: Path) -> None:
    text = summary.kurtosis_distances(load_results(shared_results), "resnet20")
    assert "Full precision + kurtosis 0.1" in text
    assert "Binary + distillation" not in text
    none = summary.kurtosis_distances(load_results(few_results), "resnet20")
    assert none == "No row that was run has a kurtosis target."


def test_blank_maps_are_counted(few_results: Path, tmp_path: Path) -> None:
    text = summary.blank_counts(load_results(few_results), "resnet20")
    assert text == "Blank 1-bit maps (all of one sign), for each seed: Binary alone 1 of 16."
    real = write_results(tmp_path / "digits", rows=["full-precision"], seeds=[1], layers=1)
    text = summary.blank_counts(load_results(real), "resnet20")
    assert text == "No row that was run has binary activations."


def test_confusions_by_hand(own_results: Path) -> None:
    details = own_results / "details"
    edit_json(details / "resnet20-binary-1.json", confusion=_confusion(from_4_to_9=2))
    edit_json(
        details / "resnet20-binary-2.json", confusion=_confusion(from_4_to_9=1, from_0_to_6=1)
    )
    classes = ["zero", *"123456789"]
    assert summary.confusions(load_results(own_results), "resnet20", "binary", classes) == (
        "Binary alone: 4 of 720 wrong, over all seeds. "
        "Most often: 4 taken for 9 (3), zero taken for 6 (1)."
    )


def test_no_confusion_at_all(own_results: Path) -> None:
    for seed in (1, 2):
        edit_json(own_results / f"details/resnet20-binary-{seed}.json", confusion=_confusion())
    text = summary.confusions(load_results(own_results), "resnet20", "binary", "0123456789")
    assert text == "Binary alone: 0 of 720 wrong, over all seeds."


def test_the_scale_of_the_distillation_loss_is_told_where_there_is_one(
    shared_results: Path, few_results: Path
) -> None:
    assert summary.loss_scale(load_results(shared_results)).endswith("the temperature T is 1.")
    assert summary.loss_scale(load_results(few_results)) == ""
