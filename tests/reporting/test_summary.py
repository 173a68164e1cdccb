import re
from pathlib import Path

import numpy as np

from pipeline.reporting import summary
from pipeline.reporting.loading import load_results
from tests.reporting.synthetic import set_confusion, set_right, write_results


def _confusion(**errors: int) -> np.ndarray:
    """36 images of each class; `from_4_to_9=2` moves two of them."""
    counts = 36 * np.eye(10, dtype=int)
    for pair, count in errors.items():
        _, true, _, predicted = pair.split("_")
        counts[int(true), int(true)] -= count
        counts[int(true), int(predicted)] += count
    return counts


def test_cards_name_rows_that_were_not_run(few_results: Path) -> None:
    cards = summary.cards(load_results(few_results), "resnet20")
    assert [card.label for card in cards] == [
        "Full precision",
        "Binary alone",
        "Complete (BD-BNN)",
    ]
    assert re.fullmatch(
        r"test top-1, 95 % interval [\d.]+ to [\d.]+ over test images, one seed; weights 1 bit, "
        "activations 1 bit",
        cards[1].under,
    )
    assert (cards[2].figure, cards[2].under) == ("not run", "")


def test_conclusion_gives_each_difference_with_its_interval(
    shared_results: Path, tmp_path: Path
) -> None:
    text = summary.conclusion(load_results(shared_results), "resnet20")
    assert text.startswith("ResNet-20: complete (BD-BNN) reaches ")
    interval = (
        r"[+-][\d.]+ points \(95 % interval after Holm's correction [+-][\d.]+ to [+-][\d.]+\)"
    )
    words = r"(higher|lower|no difference shown); 2 seeds are too few\."
    for against in ("all losses, untuned teacher", "binary alone"):
        assert re.search(f'Against "{against}" that is {interval}: {words}', text)
    assert text.endswith("Counted in bits, it takes 1/19.0 of the space of 32-bit weights.")
    alone = write_results(tmp_path / "digits", rows=["full-precision"], seeds=[1], layers=1)
    set_right(alone, "resnet20-full-precision-1", 180)
    # Wilson: half a width of 1.96 sqrt(0.25 / n + 1.96^2 / (4 n^2)) / (1 + 1.96^2 / n), n = 360
    assert summary.conclusion(load_results(alone), "resnet20") == (
        "ResNet-20: full precision reaches 50.00 % test top-1 (95 % interval 44.86 to 55.14 over "
        "test images, one seed)."
    )


def test_layers_with_two_modes_are_counted_for_each_row_and_seed(shared_results: Path) -> None:
    text = summary.two_modes(load_results(shared_results), "resnet20")
    assert text.startswith("Layers with two modes at each seed: Full precision 0 of 3; ")
    assert "; Full precision, fine-tuned + kurtosis 3 of 3; " in text
    assert text.endswith("; Complete (BD-BNN) 3 of 3.")


def test_confusions_by_hand(own_results: Path) -> None:
    set_confusion(own_results, "resnet20-binary-1", _confusion(from_4_to_9=2))
    set_confusion(own_results, "resnet20-binary-2", _confusion(from_4_to_9=1, from_0_to_6=1))
    classes = ["zero", *"123456789"]
    assert summary.confusions(load_results(own_results), "resnet20", "binary", classes) == (
        "Binary alone: 4 of 720 wrong, over all seeds. "
        "Most often: 4 taken for 9 (3), zero taken for 6 (1)."
    )


def test_no_confusion_at_all(own_results: Path) -> None:
    for seed in (1, 2):
        set_confusion(own_results, f"resnet20-binary-{seed}", _confusion())
    text = summary.confusions(load_results(own_results), "resnet20", "binary", "0123456789")
    assert text == "Binary alone: 0 of 720 wrong, over all seeds."


def test_the_scale_of_the_distillation_loss_is_told_where_there_is_one(
    shared_results: Path, few_results: Path
) -> None:
    assert summary.loss_scale(load_results(shared_results)).endswith("the temperature T is 1.")
    assert summary.loss_scale(load_results(few_results)) == ""
