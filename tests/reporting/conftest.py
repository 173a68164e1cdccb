from pathlib import Path

import pytest

from tests.reporting.synthetic import write_results


@pytest.fixture(scope="session")
def shared_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All rows, two seeds; tests only read it."""
    return write_results(tmp_path_factory.mktemp("all") / "digits")


@pytest.fixture(scope="session")
def few_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks, two rows, one seed; tests only read it."""
    return write_results(
        tmp_path_factory.mktemp("few") / "cifar10",
        networks=["vgg_small", "resnet20"],
        rows=["full-precision", "binary"],
        seeds=[1],
        layers=1,
        epochs=2,
    )


@pytest.fixture
def own_results(tmp_path: Path) -> Path:
    """One row, two seeds, to be changed by the test."""
    return write_results(tmp_path / "results" / "digits", rows=["binary"], layers=1, epochs=2)
