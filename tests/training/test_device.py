import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from pipeline.device import PORTABLE_ARITHMETIC, configure, select_device
from pipeline.errors import UserError
from pipeline.provenance import provenance
from tests.conftest import ROOT, needs_cuda
from tests.training.conftest import tiny_params

CPU = torch.device("cpu")
needs_none = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")


@pytest.fixture(autouse=True)
def _restore():
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = benchmark


def compute(**overrides):
    return tiny_params({f"compute.{key}": value for key, value in overrides.items()}).compute


PRODUCT = """
import torch
from pipeline.device import configure
from pipeline.params import Compute

compute = Compute.model_validate_json('COMPUTE')
configure(compute, torch.device("cpu"), binary=False)
generator = torch.Generator().manual_seed(0)
left, right = torch.randn(2, 300, 300, generator=generator)
print(torch.backends.cpu.get_cpu_capability(), (left @ right).double().square().sum().item())
"""


def multiplied(environment=None, **overrides):
    """The instructions that another process used for a matrix product, and a sum that tells it."""
    program = PRODUCT.replace("COMPUTE", compute(**overrides).model_dump_json())
    end = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=True,
    )
    return end.stdout.split()


@pytest.mark.skipif(not torch.cpu._is_avx2_supported(), reason="needs a CPU with AVX2")
def test_portable_arithmetic_is_set_before_anything_is_computed():
    portable = multiplied(portable=True)
    assert portable[0] == "AVX2"
    assert portable == multiplied(PORTABLE_ARITHMETIC, portable=False)


def test_the_cpu_can_be_named(monkeypatch):
    monkeypatch.setenv("BDBNN_DEVICE", "cpu")
    assert select_device() == CPU


@needs_none
def test_the_cpu_is_taken_where_there_is_nothing_else(monkeypatch):
    monkeypatch.delenv("BDBNN_DEVICE", raising=False)
    assert select_device() == CPU


@needs_none
@pytest.mark.parametrize("name", ["cuda", "cuda:1", "gpu"])
def test_a_device_that_is_not_there(monkeypatch, name):
    monkeypatch.setenv("BDBNN_DEVICE", name)
    with pytest.raises(UserError, match=rf"BDBNN_DEVICE is '{name}': allowed is cpu \(no CUDA"):
        select_device()


@pytest.mark.parametrize("name", ["cuda:2", "cuda:foo", "cuda:", "cuda:-1"])
def test_a_gpu_that_is_not_there(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("BDBNN_DEVICE", name)
    with pytest.raises(UserError, match=rf"'{name}': allowed is cpu, cuda, cuda:0, cuda:1$"):
        select_device()
    monkeypatch.setenv("BDBNN_DEVICE", "cuda:1")
    assert select_device() == torch.device("cuda", 1)


def test_more_processes_than_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("BDBNN_DEVICE", raising=False)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match=r"process 3 of this machine has no GPU: there are 2"):
        select_device()


@pytest.mark.parametrize(
    ("instructions", "dtype"), [(False, torch.float32), (True, torch.bfloat16)]
)
def test_auto_takes_bfloat16_on_a_cpu_that_has_it(monkeypatch, instructions, dtype):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    auto = compute(precision="auto", compile="auto", channels_last="auto")
    execution = configure(auto, CPU, binary=True)
    assert not execution.channels_last
    with execution.autocast_context():
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == dtype
    assert configure(compute(precision="float32"), CPU, binary=True).autocast is None


def test_auto_takes_no_bfloat16_on_a_gpu_that_emulates_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation
    )
    assert configure(compute(precision="auto"), torch.device("cuda"), binary=True).autocast is None


def test_auto_compiles_on_the_cpu_where_there_is_a_compiler(monkeypatch):
    assert not configure(compute(compile="off"), CPU, binary=True).compile
    for compiler, there in ((sys.executable, True), ("/no/such/compiler", False)):
        monkeypatch.setenv("CXX", compiler)
        assert configure(compute(compile="auto"), CPU, binary=True).compile is there
        assert not configure(compute(compile="auto"), CPU, binary=False).compile
    with pytest.raises(UserError, match="is on: needs /no/such/compiler, which is not there"):
        configure(compute(compile="on"), CPU, binary=True)
    monkeypatch.setenv("CXX", sys.executable)
    assert configure(compute(compile="on"), CPU, binary=True).compile


def test_bfloat16_and_channels_last_on_demand():
    execution = configure(compute(precision="bfloat16", channels_last="on"), CPU, binary=True)
    model = execution.place(nn.Conv2d(3, 4, 3))
    assert model.weight.is_contiguous(memory_format=torch.channels_last)
    with execution.autocast_context():
        assert model(torch.ones(1, 3, 8, 8)).dtype == torch.bfloat16
    described = provenance(execution)
    assert (described["precision"], described["channels_last"]) == ("bfloat16", True)


def test_float32_is_not_tf32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    configure(compute(precision="float32"), CPU, binary=True)
    assert not torch.backends.cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"


def test_threads_are_applied():
    configure(compute(threads=1), CPU, binary=True)
    assert torch.get_num_threads() == 1


@needs_cuda
@pytest.mark.parametrize("deterministic", [True, False])
def test_determinism_is_applied(monkeypatch, deterministic):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    execution = configure(
        compute(deterministic=deterministic), torch.device("cuda", 0), binary=True
    )
    assert execution.deterministic is deterministic
    assert torch.are_deterministic_algorithms_enabled() is deterministic
    assert torch.backends.cudnn.benchmark is not deterministic
    assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) is deterministic


def test_no_threads_named_leaves_torchs_default():
    torch.set_num_threads(3)
    configure(compute(threads=0), CPU, binary=True)
    assert torch.get_num_threads() == 3


@needs_cuda
def test_auto_on_cuda(monkeypatch):
    monkeypatch.delenv("BDBNN_DEVICE", raising=False)
    monkeypatch.setenv("LOCAL_RANK", "0")
    device = select_device()
    assert device == torch.device("cuda", 0)
    auto = compute(precision="auto", compile="auto", channels_last="auto")
    execution = configure(auto, device, binary=True)
    assert execution.compile
    assert execution.channels_last
    assert (execution.autocast is torch.bfloat16) is torch.cuda.is_bf16_supported(
        including_emulation=False
    )
    assert provenance(execution)["device"] == torch.cuda.get_device_name(0)


@needs_cuda
def test_a_device_that_is_no_device(monkeypatch):
    monkeypatch.setenv("BDBNN_DEVICE", "tpu")
    with pytest.raises(UserError, match="BDBNN_DEVICE is 'tpu': allowed is cpu, cuda, cuda:0"):
        select_device()
