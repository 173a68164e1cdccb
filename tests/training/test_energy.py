import pytest
import torch

from pipeline.training import energy
from tests.conftest import needs_cuda

CPU = torch.device("cpu")


@pytest.fixture
def powercap(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "RAPL", tmp_path)
    return tmp_path


def test_nothing_is_claimed_where_the_platform_tells_nothing(powercap):
    assert energy.energy_joules(CPU) is None


def test_packages_are_added_and_their_parts_left_out(powercap):
    for name, microjoules in {"intel-rapl:0": 1_500_000, "intel-rapl:1": 500_000}.items():
        (powercap / name).mkdir()
        (powercap / name / "energy_uj").write_text(f"{microjoules}\n")
    part = powercap / "intel-rapl:0:0"
    part.mkdir()
    (part / "energy_uj").write_text("700000\n")
    assert energy.energy_joules(CPU) == 2.0


def test_an_unreadable_counter_claims_nothing(powercap):
    (powercap / "intel-rapl:0/energy_uj").mkdir(parents=True)
    assert energy.energy_joules(CPU) is None


def test_a_counter_that_started_anew_claims_nothing(powercap):
    counter = powercap / "intel-rapl:0/energy_uj"
    assert energy.joules_since(5.0, CPU) is None
    counter.parent.mkdir()
    counter.write_text("7000000")
    assert energy.joules_since(None, CPU) is None
    assert energy.joules_since(5.0, CPU) == 2.0
    counter.write_text("1000000")
    assert energy.joules_since(5.0, CPU) is None


@needs_cuda
def test_a_gpu_tells_a_rising_number_or_nothing():
    device = torch.device("cuda", 0)
    before = energy.energy_joules(device)
    after = energy.energy_joules(device)
    assert (before is None) == (after is None)
    assert before is None or after >= before > 0
