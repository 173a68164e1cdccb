import argparse
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import get_model_weights

from pipeline.artifacts import sha256, write_tensors
from pipeline.errors import UserError
from pipeline.models.pretrained import load_pretrained
from pipeline.models.registry import build
from tests.models.test_networks import architecture

NETWORK = "torchvision_resnet18"
CACHED = "hub/checkpoints/resnet18-f37072fd.pth"
"""Where torch keeps torchvision's weights below $TORCH_HOME."""


def network(name: str = NETWORK, classes: int = 10) -> nn.Module:
    return build(architecture(name, classes=classes, image_size=224))


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """A state_dict as torchvision publishes it: without the counters of batch norms."""
    torch.manual_seed(7)
    state = network().state_dict()
    return {name: value for name, value in state.items() if "num_batches" not in name}


def assert_loaded(model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    loaded = model.state_dict()
    assert len(loaded) == 122
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


@pytest.mark.parametrize("suffix", ["pth", "pt", "safetensors"])
def test_a_file_is_read(tmp_path, published, suffix: str) -> None:
    path = tmp_path / f"weights.{suffix}"
    if suffix == "safetensors":
        write_tensors(path, published)
    else:
        torch.save(published, path)
    model = network()
    load_pretrained(model, NETWORK, str(path))
    assert_loaded(model, published)


def test_counters_of_batch_norms_are_taken_where_there_are_any(tmp_path) -> None:
    source, model = network(), network()
    source(torch.randn(2, 3, 32, 32))
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    load_pretrained(model, NETWORK, str(tmp_path / "weights.pth"))
    assert_loaded(model, source.state_dict())
    assert model.get_buffer("bn1.num_batches_tracked") == 1


def test_environment_variables_are_expanded(tmp_path, published, monkeypatch) -> None:
    torch.save(published, tmp_path / "weights.pth")
    monkeypatch.setenv("WEIGHTS", str(tmp_path))
    model = network()
    load_pretrained(model, NETWORK, "$WEIGHTS/weights.pth")
    assert_loaded(model, published)

    monkeypatch.delenv("WEIGHTS")
    with pytest.raises(UserError, match=r"^pretrained.weights is '\$WEIGHTS/.*WEIGHTS is not set$"):
        load_pretrained(model, NETWORK, "$WEIGHTS/weights.pth")


def corrupt(path: Path) -> None:
    """Keep the first half."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def state_of(name: str, classes: int = 10) -> dict[str, torch.Tensor]:
    return network(name, classes).state_dict()


def quantized() -> torch.Tensor:
    return torch.quantize_per_tensor(torch.zeros(64, 3, 7, 7), 0.1, 0, torch.qint8)


BAD_FILES = {
    "missing": ("none.pth", lambda _: None, "none.pth: no such file"),
    "folder": ("folder.pth", lambda path: path.mkdir(), "folder.pth: no such file"),
    "text": ("text.pth", lambda path: path.write_text("404: Not Found"), "is damaged, or holds"),
    "empty": ("empty.pth", lambda path: path.touch(), "is damaged, or holds more than the tensors"),
    "code": (
        "code.pth",
        lambda path: torch.save({"args": argparse.Namespace(epochs=90)}, path),
        "is damaged, or holds more than the tensors",
    ),
    "checkpoint": (
        "checkpoint.pth",
        lambda path: torch.save({"state_dict": {}, "epoch": 90}, path),
        "is no state_dict, tensors by their names",
    ),
    "tensor": (
        "tensor.pth",
        lambda path: torch.save(torch.zeros(3), path),
        "is no state_dict, tensors by their names",
    ),
    "half": (
        "half.pth",
        lambda path: (torch.save(state_of(NETWORK), path), corrupt(path)),
        "is damaged, or holds more than the tensors",
    ),
    "half of safetensors": (
        "half.safetensors",
        lambda path: (write_tensors(path, state_of(NETWORK)), corrupt(path)),
        "is not a readable safetensors file",
    ),
    "other depth": (
        "resnet34.pth",
        lambda path: torch.save(state_of("torchvision_resnet34"), path),
        "holds another architecture: layer1.2.bn1.bias is (64,), the network has nothing",
    ),
    "other stem": (
        "resnet18.safetensors",
        lambda path: write_tensors(path, state_of("resnet18")),
        "holds another architecture: bn2.bias is (512,), the network has nothing",
    ),
    "not finite": (
        "nan.pth",
        lambda path: torch.save(
            state_of(NETWORK) | {"conv1.weight": torch.full((64, 3, 7, 7), torch.nan)}, path
        ),
        "conv1.weight is no dense tensor of finite numbers",
    ),
    "sparse": (
        "sparse.pth",
        lambda path: torch.save(
            state_of(NETWORK) | {"conv1.weight": torch.zeros(64, 3, 7, 7).to_sparse()}, path
        ),
        "conv1.weight is no dense tensor of finite numbers",
    ),
    "quantized": (
        "quantized.pth",
        lambda path: torch.save(state_of(NETWORK) | {"conv1.weight": quantized()}, path),
        "conv1.weight is no dense tensor of finite numbers",
    ),
    "without data": (
        "meta.pth",
        lambda path: torch.save(
            state_of(NETWORK) | {"conv1.weight": torch.zeros(64, 3, 7, 7, device="meta")}, path
        ),
        "conv1.weight is no dense tensor of finite numbers",
    ),
    "long name": ("x" * 300, lambda _: None, "x: no such file"),
    "other classes": (
        "classes.pth",
        lambda path: torch.save(state_of(NETWORK, 1000), path),
        "is of 1000 classes, the data has 10",
    ),
}


@pytest.mark.filterwarnings("ignore:.*deprecated:UserWarning", "ignore:Validating sparse tensor")
@pytest.mark.parametrize(("name", "write", "expected"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_is_told_in_one_line(tmp_path, name: str, write, expected: str) -> None:
    write(tmp_path / name)
    model = network()
    before = {key: value.clone() for key, value in model.state_dict().items()}

    with pytest.raises(UserError) as raised:
        load_pretrained(model, NETWORK, str(tmp_path / name))

    line = str(raised.value)
    assert str(tmp_path / name) in line
    assert expected in line
    assert "\n" not in line
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_weights_that_were_downloaded_before_are_read(tmp_path, published, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    whole = tmp_path / "whole.pth"
    torch.save(published, whole)
    cached = (tmp_path / CACHED).with_name(f"resnet18-{sha256(whole)[:8]}.pth")
    cached.parent.mkdir(parents=True)
    whole.rename(cached)
    url = f"https://download.pytorch.org/models/{cached.name}"
    monkeypatch.setattr(get_model_weights("resnet18").DEFAULT.value, "url", url)
    model = network()
    found = load_pretrained(model, NETWORK, "download")
    assert_loaded(model, published)
    assert found == {"weights": "download", "weights_sha256": sha256(cached)}

    with pytest.raises(UserError, match=rf"{cached.name}: is of 10 classes, the data has 7"):
        load_pretrained(network(classes=7), NETWORK, "download")
    cached.write_bytes(cached.read_bytes()[:-1])
    with pytest.raises(UserError, match=rf"'download': .*/{cached.name} is damaged; remove it$"):
        load_pretrained(network(), NETWORK, "download")


def test_a_download_that_fails_is_told_in_one_line(tmp_path, monkeypatch) -> None:
    """Through a proxy that refuses connections: no network is asked, and none need be there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
    monkeypatch.setattr(urllib.request, "_opener", None)  # made once, with the proxies of then
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    start = time.monotonic()

    with pytest.raises(UserError) as raised:
        load_pretrained(network(classes=1000), NETWORK, "download")

    assert time.monotonic() - start < 10
    line = str(raised.value)
    assert line.startswith("pretrained.weights is 'download': https://download.pytorch.org/models/")
    assert "Connection refused" in line
    assert line.endswith("name a file with these weights instead")
    assert "\n" not in line
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert socket.getdefaulttimeout() is None


@pytest.fixture
def serve(tmp_path, monkeypatch) -> Iterator[Callable[[Path], None]]:
    """Have torchvision find its ResNet-18 in a file here, which a server on this machine gives."""
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path / "served")
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(urllib.request, "_opener", None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    weights = get_model_weights("resnet18").DEFAULT.value

    def serve(file: Path) -> None:
        url = f"http://127.0.0.1:{server.server_port}/{file.name}"
        monkeypatch.setattr(weights, "url", url)

    (tmp_path / "served").mkdir()
    yield serve
    server.shutdown()
    server.server_close()


def test_weights_are_downloaded_checked_and_kept(tmp_path, published, serve) -> None:
    whole = tmp_path / "whole.pth"
    torch.save(published, whole)
    file = tmp_path / "served" / f"resnet18-{sha256(whole)[:8]}.pth"
    whole.rename(file)
    serve(file)
    model = network()
    load_pretrained(model, NETWORK, "download")
    assert_loaded(model, published)

    file.unlink()
    load_pretrained(network(), NETWORK, "download")


def test_a_download_whose_hash_is_another_is_not_kept(tmp_path, published, serve) -> None:
    file = tmp_path / "served" / "resnet18-00000000.pth"
    torch.save(published, file)
    serve(file)
    with pytest.raises(UserError, match=r"could not be had \(invalid hash value .*file with these"):
        load_pretrained(network(), NETWORK, "download")
    assert not [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
