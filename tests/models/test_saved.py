"""Trained networks on disk, and what is refused as one."""

import json
import os

import pytest
import torch

from pipeline.artifacts import read_json, read_tensors, write_json, write_tensors
from pipeline.errors import UserError
from pipeline.models.architecture import Architecture
from pipeline.models.registry import build
from pipeline.models.saved import Description, load_trained, save_trained
from tests.conftest import renew_checksums
from tests.training.conftest import tiny_params

ARCHITECTURE = Architecture(
    network="resnet20",
    classes=10,
    channels=1,
    image_size=8,
    block="bireal",
    activation="hardtanh",
    downsample="real",
    binarization=None,
)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    states = [build(ARCHITECTURE).state_dict() for _ in ("best", "last")]
    description = Description(
        architecture=ARCHITECTURE,
        row="kurtosis",
        seed=1,
        losses=("cross_entropy", "kurtosis"),
        teacher=None,
        best_epoch=1,
        validation_top1=0.5,
        debug=False,
        params=tiny_params().recorded(),
    )
    save_trained(tmp_path / "m", description, *states)
    return tmp_path / "m"


def assert_refused(folder, expected, which="best"):
    with pytest.raises(UserError) as raised:
        load_trained(folder, which)
    message = str(raised.value)
    assert message.startswith(f"{folder}/")
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize("which", ["best", "last"])
def test_what_is_saved_is_loaded(saved, which):
    network, description = load_trained(saved, which)
    expected = read_tensors(saved / f"{which}.safetensors")
    assert not network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, expected[name])
    assert description.row == "kurtosis"


@pytest.mark.parametrize("which", ["best", "last"])
@pytest.mark.parametrize("place", [0.5, 0.99])
def test_a_flipped_bit_in_the_weights_is_found(saved, which, place):
    path = saved / f"{which}.safetensors"
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    assert_refused(saved, f"{which}.safetensors: differs from its checksum in model.json", which)


def test_a_description_from_before_there_were_checksums(saved):
    content = read_json(saved / "model.json")
    del content["weights"]
    write_json(saved / "model.json", content)
    assert_refused(saved, "weights is missing, their checksums; train the network again")


WEIGHTS = {
    "nan": (torch.full([10], torch.nan), "linear.bias holds numbers that are not finite"),
    "infinite": (torch.full([10], -torch.inf), "linear.bias holds numbers that are not finite"),
    "infinite as float32": (
        torch.full([10], 1e300, dtype=torch.float64),
        "linear.bias holds numbers that are not finite",
    ),
    "boolean": (
        torch.ones(10, dtype=torch.bool),
        "bias is of type torch.bool, must be torch",
    ),
    "integers": (
        torch.ones(10, dtype=torch.int8),
        "bias is of type torch.int8, must be torch",
    ),
    "complex": (torch.ones(10, dtype=torch.complex64), "bias is of type torch.complex64, must be"),
}


@pytest.mark.parametrize(("bias", "expected"), WEIGHTS.values(), ids=WEIGHTS.keys())
@pytest.mark.parametrize("which", ["best", "last"])
def test_weights_that_are_no_finite_numbers(saved, which, bias, expected):
    path = saved / f"{which}.safetensors"
    write_tensors(path, read_tensors(path) | {"linear.bias": bias})
    renew_checksums(saved)
    assert_refused(saved, expected, which)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_a_negative_variance_in_eight_bits(saved, dtype):
    path = saved / "best.safetensors"
    name = "bn1.running_var"
    write_tensors(path, read_tensors(path) | {name: (-read_tensors(path)[name]).to(dtype)})
    renew_checksums(saved)
    assert_refused(saved, f"{name} holds negative numbers, a variance has none")


def test_a_network_that_needs_more_memory_than_there_is(saved):
    content = read_json(saved / "model.json")
    content["architecture"] |= {"network": "vgg_small", "image_size": 8192, "classes": 65536}
    write_json(saved / "model.json", content)
    assert_refused(saved, "best.safetensors: holds another architecture: ")


def test_a_negative_variance(saved):
    path = saved / "best.safetensors"
    name = "bn1.running_var"
    write_tensors(path, read_tensors(path) | {name: -read_tensors(path)[name]})
    renew_checksums(saved)
    assert_refused(saved, f"{name} holds negative numbers, a variance has none")


def test_half_precision_is_a_floating_point_number(saved):
    path = saved / "best.safetensors"
    halves = read_tensors(path)
    halves["linear.bias"] = halves["linear.bias"].half()
    write_tensors(path, halves)
    renew_checksums(saved)
    network, _ = load_trained(saved, "best")
    assert network.linear.bias.dtype == torch.float32
    assert torch.equal(network.linear.bias, halves["linear.bias"].float())


DESCRIPTIONS = {
    "row": ({"row": "../../../x"}, "row is '../../../x', allowed are full-precision, fine-tuned"),
    "seed below 0": ({"seed": -1}, "seed: Input should be greater than or equal to 0"),
    "large seed": ({"seed": 2**64}, "seed: Input should be less than or equal to 4294967295"),
    "a loss twice": (
        {"losses": ["kurtosis", "kurtosis"]},
        "losses are kurtosis, kurtosis: ",
    ),
    "unknown loss": ({"losses": ["wdm"]}, "losses are wdm: allowed are cross_entropy, kurtosis"),
    "no target": ({"params": {}}, "params.kurtosis.target is None, a target is needed"),
    "a target of lists": (
        {"params": {"kurtosis": {"target": [1.8]}}},
        "params.kurtosis.target is [1.8], a target is needed",
    ),
    "no kurtosis": ({"params": {"kurtosis": {"target": 0.5}}}, "kurtosis is never below 1"),
    "params": (
        {"params": {"kurtosis": [1]}},
        "params.kurtosis: Input should be an object",
    ),
    "start": ({"step": "two", "start": "../x"}, "start: String should match pattern"),
    "step two from nothing": ({"step": "two"}, "step is 'two' and start is None: step two starts"),
    "a start of step one": (
        {"step": "one", "start": "resnet20-complete-1"},
        "step is 'one' and start is 'resnet20-complete-1': step two starts from a cell",
    ),
    "share": ({"validation_top1": 1.5}, "validation_top1: Input should be less than or equal to 1"),
    "classes": (
        {"architecture": ARCHITECTURE.model_dump() | {"classes": 10**12}},
        "architecture.classes: Input should be less than or equal to 65536",
    ),
    "image_size": (
        {"architecture": ARCHITECTURE.model_dump() | {"image_size": 10**9}},
        "architecture.image_size: Input should be less than or equal to 8192",
    ),
    "checksum": ({"weights": {"best": "x", "last": "y"}}, "weights.best: String should match patt"),
    "a number as text": ({"seed": "1"}, "seed: Input should be a valid integer"),
    "a switch as text": ({"debug": "yes"}, "debug: Input should be a valid boolean"),
    "unknown key": ({"pickle": 1}, "pickle: Extra inputs are not permitted"),
}


@pytest.mark.parametrize(("changes", "expected"), DESCRIPTIONS.values(), ids=DESCRIPTIONS.keys())
def test_a_description_that_is_not_one(saved, changes, expected):
    content = read_json(saved / "model.json")
    (saved / "model.json").write_text(json.dumps(content | changes))
    assert_refused(saved, f"model.json: {expected}")


def test_blocks_that_the_network_does_not_have(saved):
    content = read_json(saved / "model.json")
    content["architecture"]["block"] = "react"
    (saved / "model.json").write_text(json.dumps(content))
    assert_refused(saved, "model.json: network.block is 'react': resnet20 allows bireal or plain")


@pytest.mark.parametrize("content", [b"[" * 10_000, b"9" * 5000, b"[]", b"null", b"\xff", b""])
def test_a_description_that_is_no_mapping(saved, content):
    (saved / "model.json").write_bytes(content)
    assert_refused(saved, "model.json: ")


@pytest.mark.parametrize("name", ["model.json", "best.safetensors"])
def test_a_folder_or_pipe_in_the_place_of_a_file(saved, name):
    (saved / name).unlink()
    assert_refused(saved, f"{name}: no such file")
    (saved / name).mkdir()
    assert_refused(saved, f"{name}: is no file")
    (saved / name).rmdir()
    os.mkfifo(saved / name)
    assert_refused(saved, f"{name}: is no file")
