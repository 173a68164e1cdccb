import math

import pytest

from pipeline.params import Phase
from pipeline.training.schedule import learning_rate
from tests.conftest import ROOT, read_yaml


def phase(**changes) -> Phase:
    teacher = read_yaml(ROOT / "params.yaml")["teacher"]
    return Phase(**(teacher | {"epochs": 4, "learning_rate": 0.8} | changes))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.8, 0.8, 0.8, 0.8]),
        ("linear", [0.8, 0.6, 0.4, 0.2]),
        ("cosine", [0.8, 0.4 + 0.4 / math.sqrt(2), 0.4, 0.4 - 0.4 / math.sqrt(2)]),
    ],
)
def test_learning_rate_of_each_epoch(schedule, expected):
    rates = [learning_rate(phase(schedule=schedule), epoch) for epoch in range(4)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_decay_would_reach_zero_after_the_last_epoch(schedule):
    assert learning_rate(phase(schedule=schedule), 4) == pytest.approx(0)
