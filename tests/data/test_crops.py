import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from pipeline.data.crops import EvaluationCrop, TrainingCrop


def test_evaluation_crops_the_centre_of_the_resized_image():
    image = np.zeros((20, 40, 3), np.uint8)
    image[4:16, 14:26] = 200  # after resizing to 10 x 20: rows 2 to 8, columns 7 to 13
    crop = EvaluationCrop(resize=10, size=4)(Image.fromarray(image))
    assert torch.equal(crop, torch.full((3, 4, 4), 200, dtype=torch.uint8))


RAMP = Image.fromarray(np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None], (256, 256, 3)))


def area_and_side(scale_min: float, flip: bool, seed: int) -> tuple[float, bool]:
    """Share of a horizontal ramp that a random crop spans, and whether it is mirrored."""
    torch.manual_seed(seed)
    row = TrainingCrop(256, scale_min, flip)(RAMP)[0, 0].int()
    return abs(int(row[-1] - row[0])) / 255, bool(row[-1] < row[0])


def test_training_crops_are_as_large_as_asked_and_mirrored_in_half_of_the_cases():
    drawn = [area_and_side(0.5, True, seed) for seed in range(200)]
    widths = [width for width, _ in drawn]
    assert 0.5 * 3 / 4 < min(widths) ** 2 < 0.6  # width² = area * aspect, 3/4 to 4/3
    assert max(widths) > 0.95
    assert 70 < sum(mirrored for _, mirrored in drawn) < 130
    assert not any(mirrored for _, mirrored in (area_and_side(0.5, False, s) for s in range(20)))
    assert min(area_and_side(1.0, False, seed)[0] for seed in range(20)) > 0.98


def test_a_training_crop_is_that_of_torchvision(photo):
    image = photo(37, 23)
    for seed in range(5):
        torch.manual_seed(seed)
        crop = TrainingCrop(9, 0.1, False)(image)
        torch.manual_seed(seed)
        expected = v2.RandomResizedCrop(9, scale=(0.1, 1.0))(v2.functional.pil_to_tensor(image))
        assert torch.equal(crop, expected)
