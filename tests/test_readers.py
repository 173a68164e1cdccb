"""Whatever a file holds, its reader returns a valid object or raises a UserError of one line.

Each document is a valid one with a part replaced, removed or renamed, or no document at all.
"""

import copy
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from pipeline.artifacts import read_array, read_json, read_tensors, write_bytes
from pipeline.data.prepared import Manifest, load_manifest
from pipeline.data.sources import shards
from pipeline.data.sources.base import Source
from pipeline.errors import LONGEST_LINE, UserError, one_line
from pipeline.evaluation.outcomes import read_outcomes
from pipeline.models.architecture import Architecture
from pipeline.models.saved import Description, SavedDescription, load_description
from pipeline.params import Params, load_params
from pipeline.reporting.loading import load_results
from pipeline.reporting.results import Results
from pipeline.training.checkpoint import read_checkpoint
from pipeline.training.state import COLUMNS, History, Outcome, copy_state, pack, unpack
from tests.reporting.synthetic import write_results
from tests.training.conftest import tiny_params

some = settings(
    max_examples=70,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([-1, 0, 2**31, 2**63, 2**64, 10**30, 10**400, -(10**400)])
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["../../x", "/", "a\nb", "\x1b[31m", "\ud800", "", "download", "1.8 x99"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@st.composite
def changed(draw, document):
    """`document` with one of its parts, at any depth, replaced, removed or renamed."""
    document = holder = {"": copy.deepcopy(document)}
    key = ""
    while isinstance(holder[key], dict | list) and holder[key] and draw(st.integers(0, 5)):
        holder = holder[key]
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = draw(st.sampled_from(keys))
    change = draw(st.sampled_from(["replace", "replace", "replace", "remove", "rename"]))
    value = holder.pop(key) if change != "replace" else draw(VALUES)
    if change == "replace":
        holder[key] = value
    elif change == "rename" and isinstance(holder, dict):
        holder[draw(st.text(max_size=5))] = value
    return document.get("")


def texts(document):
    """`document` as JSON, changed, or bytes that are none."""
    return changed(document).map(lambda each: json.dumps(each).encode()) | damaged(
        json.dumps(document).encode()
    )


@st.composite
def damaged(draw, content):
    """`content` with a part cut out or overwritten, or other bytes altogether."""
    start, length = draw(st.integers(0, len(content))), draw(st.integers(0, 50))
    return (
        draw(st.just(b"") | st.just(content[:start]))
        + draw(st.binary(max_size=50))
        + draw(st.just(b"") | st.just(content[start + length :]))
    )


def outcome(read, path: Path):
    """What `read` returns, None for an error that begins with `path` and is one line."""
    try:
        return read()
    except UserError as error:
        assert str(error).startswith(str(path))
        line = one_line(str(error))
        assert line.isprintable()
        assert len(line) < LONGEST_LINE + 50
        return None


PARAMS = tiny_params().recorded()


@some
@given(content=texts(PARAMS))
def test_params(tmp_path, content):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    found = outcome(lambda: load_params(path), path)
    assert found is None or Params.model_validate(found.model_dump()) == found


@some
@given(content=st.text(alphabet="ab:-?&*!<>[]{},'\"#|%@`~ \n\t0129.xe_=é\x85", max_size=60))
def test_params_of_any_syntax(tmp_path, content):
    path = tmp_path / "params.yaml"
    path.write_text(content, encoding="utf-8")
    assert outcome(lambda: load_params(path), path) is None


@pytest.fixture(scope="module")
def manifest(tiny_digits):
    return json.loads((tiny_digits / "manifest.json").read_text())


@some
@given(data=st.data())
def test_manifest(tmp_path, manifest, data):
    (tmp_path / "manifest.json").write_bytes(data.draw(texts(manifest)))
    found = outcome(lambda: load_manifest(tmp_path), tmp_path)
    assert found is None or isinstance(found, Manifest)


DESCRIPTION = {
    **Description(
        architecture=Architecture(
            network="resnet20",
            classes=10,
            channels=1,
            image_size=8,
            block="bireal",
            activation="hardtanh",
            downsample="real",
            binarization=None,
        ),
        row="complete",
        seed=1,
        losses=("cross_entropy", "kurtosis"),
        teacher="resnet20-kurtosis-1",
        best_epoch=1,
        validation_top1=0.5,
        debug=False,
        params=PARAMS,
        step="two",
        start="resnet20-complete-step-one-1",
    ).model_dump(mode="json"),
    "weights": {"best": "0" * 64, "last": "f" * 64},
}


@some
@given(content=texts(DESCRIPTION))
def test_description(tmp_path, content):
    (tmp_path / "model.json").write_bytes(content)
    found = outcome(lambda: load_description(tmp_path), tmp_path)
    if found is not None:
        assert isinstance(found, SavedDescription)
        cell = Path(f"{found.architecture.network}-{found.row}-{found.seed}.json")
        assert cell.name == str(cell) and str(found.start).isprintable()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("digits"), rows=("complete",), seeds=(1,))


@pytest.mark.parametrize("part", [".", "details", "provenance"])
@settings(some, max_examples=40)
@given(data=st.data())
def test_results(results, part, data):
    path = results / part / "resnet20-complete-1.json"
    before = path.read_bytes()
    path.write_bytes(data.draw(texts(json.loads(before))))
    try:
        found = outcome(lambda: load_results(results), results)
    finally:
        path.write_bytes(before)
    assert found is None or isinstance(found, Results)


def a_training():
    """A network and its optimizer after a step, with the checkpoint of its first epoch."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(4, 2)).sum().backward()
    optimizer.step()
    rows = {
        table: [dict.fromkeys(sorted(columns), 0.5) | {"epoch": 1}]
        for table, columns in COLUMNS.items()
    }
    rows["kurtosis"][0]["layer"] = "conv1"
    so_far = Outcome(copy_state(model), {}, 1, 0.5, History(**rows))
    return model, optimizer, *pack(model, optimizer, so_far, 1)


MODEL, OPTIMIZER, TENSORS, STATE = a_training()
ODD = st.sampled_from(
    [
        torch.zeros(()),
        torch.zeros(7),
        torch.full((3,), torch.nan),
        torch.ones(3, dtype=torch.bool),
        torch.ones(3, dtype=torch.int64),
        torch.zeros(0),
    ]
)


@st.composite
def checkpoints(draw):
    tensors = dict(TENSORS)
    if draw(st.booleans()):
        name = draw(st.sampled_from(sorted(tensors)))
        del tensors[name]
        tensors |= draw(st.dictionaries(st.just(name) | st.just(f"{name}x"), ODD, max_size=1))
    state = draw(st.just(STATE) | changed(STATE))
    content = save(tensors, {draw(st.sampled_from(["state"] * 9 + ["x"])): json.dumps(state)})
    return draw(st.just(content) | damaged(content))


@some
@given(content=checkpoints())
def test_checkpoint(content):
    """A refused one leaves network and optimizer as they are."""
    before = copy.deepcopy((MODEL.state_dict(), OPTIMIZER.state_dict()))
    source = Path("epoch-0001.safetensors")

    def read():
        return unpack(*read_checkpoint(content, str(source)), MODEL, OPTIMIZER, str(source), 2)

    found = outcome(read, source)
    if found is None:
        after = MODEL.state_dict(), OPTIMIZER.state_dict()
        torch.testing.assert_close(after, before, rtol=0, atol=0, equal_nan=True)
    else:
        assert found[1] == len(found[0].history.curves) <= 2
        MODEL.zero_grad()
        MODEL(torch.ones(4, 2)).sum().backward()
        OPTIMIZER.step()
        found[0].update_best(MODEL, dict.fromkeys(COLUMNS["curves"], 0.1) | {"epoch": 2})


FEATURES = {"info": {"features": {"img": {}, "label": {"names": ["a", "b"]}}}}


@some
@given(content=texts(FEATURES))
def test_parquet_metadata(tmp_path, content):
    image = pa.array([{"bytes": b"", "path": ""}] * 2)
    table = pa.table({"img": image, "label": [0, 1]})
    table = table.replace_schema_metadata({"huggingface": content})
    for split in ("train", "test"):
        pq.write_table(table, tmp_path / f"{split}-0.parquet")
    found = outcome(lambda: shards.load(tmp_path), tmp_path)
    assert found is None or isinstance(found, Source)


HEADER = b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }"
WHOLE = {
    read_array: HEADER + b" " * (127 - len(HEADER)) + b"\n\x00\x01",
    read_tensors: save({"a": torch.ones(2)}),
    read_outcomes: save({"correct": torch.ones(1, dtype=torch.uint8)}, {"images": "8"}),
    read_json: b'{"a": [1, 2.5e3, null, true, "b"]}',
}


@pytest.mark.parametrize("read", WHOLE, ids=lambda read: read.__name__)
@some
@given(data=st.data())
def test_damaged_bytes(tmp_path, read, data):
    path = tmp_path / "file"
    write_bytes(path, WHOLE[read])
    assert outcome(lambda: read(path), path) is not None, "the whole file is readable"
    path.write_bytes(data.draw(damaged(WHOLE[read])))
    outcome(lambda: read(path), path)
