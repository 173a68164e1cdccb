"""The field's usual training loop, written from its description, to compare ours with.

It works as the released code of BD-BNN and IR-Net does: a data set returns one PIL image at a time,
torchvision transforms each of them, a DataLoader has two workers, execution is eager, and the
teacher runs under no_grad. At every step, layers are found by walking `named_modules`, the kurtosis
is built as one object per layer and computed as ((w - mean) / std) ** 4, and loss and accuracy are
read back. WDM has the form that the released trainer calls (`released`). The network is passed in:
it is ours, as it is or with the layers of usual_layers.py.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from pipeline.data.prepared import Split
from pipeline.params import Params

WORKERS = 2


class PilImages(Dataset):
    """Images, uint8 (N, C, H, W), returned as torchvision's CIFAR10 does: one by one, through PIL.

    Args:
        split: images and labels.
        transform: turns a PIL image into what the loop takes.
    """

    def __init__(self, split: Split, transform: transforms.Compose) -> None:
        self._pixels = np.ascontiguousarray(split.images.transpose(0, 2, 3, 1))
        self._labels = split.labels.tolist()
        self._transform = transform

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._pixels[index])), self._labels[index]

    def __len__(self) -> int:
        return len(self._labels)


def pil_loader(
    split: Split,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    padding: int,
    batch_size: int,
    workers: int,
    pin: bool = False,
) -> DataLoader:
    """A loader that crops, flips and normalizes each image by itself, in `workers` processes."""
    transform = transforms.Compose(
        [
            transforms.RandomCrop(split.images.shape[2], padding),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )
    return DataLoader(
        PilImages(split, transform),
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        pin_memory=pin,
    )


def endless(loader: DataLoader) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of a loader, epoch after epoch: a short measurement need not pay for new workers."""
    while True:
        yield from loader


class KurtosisWeight:
    """The kurtosis of one layer and its squared distance from a target, as an object."""

    def __init__(self, weight: Tensor, target: float) -> None:
        self.weight = weight
        self.target = target
        self.loss = torch.zeros(())

    def calculate(self) -> None:
        """Set `loss`."""
        mean = torch.mean(self.weight)
        std = torch.std(self.weight)
        value = torch.mean(((self.weight - mean) / std) ** 4)
        self.loss = (value - self.target) ** 2


class WeightDivergence(nn.Module):
    """WDM of one pair of layers: KLDivLoss on the raw weights."""

    def __init__(self) -> None:
        super().__init__()
        self.divergence = nn.KLDivLoss(reduction="none", log_target=True)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """0-d loss of two tensors of one shape."""
        return self.divergence(student, teacher).mean()


class UsualLoop:
    """Steps of the usual loop.

    Args:
        student: network in training, on the device.
        teacher: network on the device; None trains with cross-entropy alone, else with all losses.
        params: weights of the losses, target of the kurtosis, optimizer.
        device: where the networks are.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module | None, params: Params, device: torch.device
    ) -> None:
        self.student = student.train()
        self.teacher = None if teacher is None else teacher.eval()
        self.params = params
        self.device = device
        phase = params.student
        self.optimizer = torch.optim.SGD(
            student.parameters(),
            phase.learning_rate,
            momentum=phase.momentum,
            weight_decay=phase.weight_decay,
        )
        self.loss_sum = 0.0
        self.correct = 0.0

    def train(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Take a step on each batch."""
        for images, labels in batches:
            self.step(images, labels)

    def step(self, images: Tensor, labels: Tensor) -> None:
        """Take one step on a batch from a DataLoader."""
        images = images.to(self.device, non_blocking=True)
        labels = labels.to(self.device, non_blocking=True)
        output = self.student(images)
        loss = self.params.cross_entropy.weight * F.cross_entropy(output, labels)
        if self.teacher is not None:
            with torch.no_grad():
                teacher_output = self.teacher(images)
            distilled = distillation_loss(output, teacher_output)
            loss = loss + self.params.distillation.weight * distilled
            loss = loss + self.weight_terms()
        self.loss_sum += loss.item()
        self.correct += (output.argmax(1) == labels).float().sum().item()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def weight_terms(self) -> Tensor:
        """Weighted sum of kurtosis loss and WDM; layers are looked up and paired anew."""
        assert self.teacher is not None
        target = self.params.kurtosis.target
        assert isinstance(target, float)
        layers = []
        for name, module in self.student.named_modules():
            if isinstance(module, nn.Conv2d) and name != "conv1":
                layers.append(KurtosisWeight(module.weight, target))
        kurtosis: Tensor = torch.zeros((), device=self.device)
        for layer in layers:
            layer.calculate()
            kurtosis = kurtosis + layer.loss
        kurtosis = kurtosis / len(layers)

        criterion = WeightDivergence()
        mimicking: Tensor = torch.zeros((), device=self.device)
        for name, module in self.student.named_modules():
            if not isinstance(module, nn.Conv2d) or name == "conv1" or "downsample" in name:
                continue
            for other_name, other in self.teacher.named_modules():
                if other_name == name and isinstance(other, nn.Conv2d):
                    mimicking = mimicking + criterion(module.weight, other.weight.detach())
        return self.params.kurtosis.weight * kurtosis + self.params.mimicking.weight * mimicking


def distillation_loss(output: Tensor, teacher_output: Tensor) -> Tensor:
    """Soft cross-entropy of the logits, mean over the batch."""
    shares = F.softmax(teacher_output, dim=1)
    return -(shares * F.log_softmax(output, dim=1)).sum(dim=1).mean()
