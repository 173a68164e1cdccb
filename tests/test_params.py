import os
import shutil
from pathlib import Path

import pytest
from dvc.utils.serialize import modify_yaml
from ruamel.yaml import YAML
from ruamel.yaml.tokens import AnchorToken

from pipeline.errors import UserError
from pipeline.params import load_params
from tests.conftest import ROOT, read_yaml, write_yaml

FILES = sorted(path for path in [ROOT / "params.yaml", *ROOT.glob("tables/*/params.yaml")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_params_file_is_valid_and_holds_no_list(path):
    """`dvc exp run -S` would rewrite a list, and an anchor would make it change nothing."""
    load_params(path)
    for section in read_yaml(path).values():
        assert not any(isinstance(value, list | dict) for value in section.values())
    tokens = YAML(typ="safe", pure=True).scan(path.read_text())
    assert not [token for token in tokens if isinstance(token, AnchorToken)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_dvc_changes_in_a_params_file_is_the_one_line(tmp_path, path):
    """DVC writes without the quotes that YAML 1.2 does not need."""
    changed = tmp_path / "params.yaml"
    shutil.copy(path, changed)
    with modify_yaml(str(changed)) as content:
        content["kurtosis"]["weight"] = 0.123
    assert load_params(changed).kurtosis.weight == 0.123
    assert load_params(changed).compute == load_params(path).compute
    lines = zip(path.read_text().splitlines(), changed.read_text().splitlines(), strict=True)
    assert [after for before, after in lines if before != after] == ["  weight: 0.123"]


def test_values_and_types_are_those_of_the_file(write_params):
    params = load_params(write_params({"kurtosis.target": "1.4 x2, 1.8", "student.momentum": 0}))
    assert params.kurtosis.target == "1.4 x2, 1.8"
    assert params.student.momentum == 0
    assert params.student.initialize == "random"
    with pytest.raises(ValueError, match="frozen"):
        params.student.epochs = 3


STREAMING = {
    "resize": 10,
    "crop_scale_min": 0.3,
    "unreadable": "refuse",
    "statistics": "measured",
}
BAD = {
    "portable, compiled": (
        {"compute.portable": True, "compute.threads": 1, "compute.compile": "on"},
        "compute.compile is 'on': with compute.portable it must be 'off'",
    ),
    "portable in bfloat16": (
        {"compute.portable": True, "compute.threads": 1, "compute.precision": "bfloat16"},
        "compute.precision is 'bfloat16': with compute.portable it must be 'float32'",
    ),
    "portable, any threads": (
        {"compute.portable": True, "compute.threads": 0},
        "compute.threads is 0: with compute.portable it must be at least 1",
    ),
    "unknown key": ({"student.epoch": 3}, "student.epoch is unknown"),
    "not a number": ({"student.learning_rate": "low"}, "learning_rate is 'low': Input should be"),
    "not an integer": (
        {"student.epochs": 2.5},
        "student.epochs is 2.5: Input should be a valid in",
    ),
    "softer and softer": (
        {"binarization.ede_t_min": 3.0},
        "binarization.ede_t_min is 3: must be at most binarization.ede_t_max, 2",
    ),
    "not a switch": ({"debug.overfit_one_batch": 1}, "debug.overfit_one_batch is 1: Input should"),
    "negative": ({"teacher.epochs": -1}, "teacher.epochs is -1: Input should be greater than 0"),
    "infinite": (
        {"student.learning_rate": float("inf")},
        "student.learning_rate is inf: Input sho",
    ),
    "too large": ({"data.image_size": 8193}, "data.image_size is 8193: Input should be less than"),
    "far too large": ({"data.image_size": 10**30}, "data.image_size is 1"),
    "too large a side": (
        {"streaming": STREAMING | {"resize": 10**8}},
        "streaming.resize is 100000",
    ),
    "too large a batch": ({"student.batch_size": 2**20 + 1}, "student.batch_size is 1048577: "),
    "endless epochs": ({"student.epochs": 10**400}, "student.epochs is 100000000000000000...0000"),
    "too large a seed": ({"data.split_seed": 2**32}, "data.split_seed is 4294967296: Input should"),
    "confidence of rounding": (
        {"evaluation.confidence": 0.9999999999999999},
        "evaluation.confidence is 0.9999999999999999: Input should be less than or equal to 0.9999",
    ),
    "too many resamples": (
        {"evaluation.bootstrap_resamples": 10**8},
        "bootstrap_resamples is 1000",
    ),
    "nothing but padding": (
        {"augmentation.crop_padding": 8},
        "augmentation.crop_padding is 8: must be less than data.image_size, 8",
    ),
    "far too much padding": (
        {"augmentation.crop_padding": 10**20},
        "augmentation.crop_padding is ",
    ),
    "a long text": ({"data.source": "x" * 10**6}, "xxx...xxx"),
    "an endless target": ({"kurtosis.target": "9" * 400}, "targets are at most 1,000,000"),
    "no share": ({"data.validation": 1.0}, "data.validation is 1.0: Input should be less than 1"),
    "no choice": (
        {"network.block": "resnext"},
        "network.block is 'resnext': Input should be 'bireal', 'plain' or 'react'",
    ),
    "low target": ({"kurtosis.target": 0.5}, "kurtosis.target is 0.5: kurtosis is never below 1"),
    "low target of a layer": ({"kurtosis.target": "1.8 x3, 0.9"}, "kurtosis is never below 1"),
    "no target": ({"kurtosis.target": "1.8 x0"}, "kurtosis.target is '1.8 x0': no target given"),
    "odd target": ({"kurtosis.target": "flat"}, "'flat' is not a target such as 1.8 or 1.4 x14"),
    "target is nan": ({"kurtosis.target": float("nan")}, "kurtosis.target is nan: "),
    "streaming images in memory": (
        {"streaming": STREAMING},
        "data.source is 'digits': with the section streaming it must be folders or shards",
    ),
    "streaming with padding": (
        {"streaming": STREAMING, "data.source": "folders"},
        "augmentation.crop_padding is 1: must be 0 with the section streaming",
    ),
    "a crop larger than the image": (
        {"streaming": STREAMING | {"resize": 7}, "data.source": "shards"},
        "streaming.resize is 7: must be at least data.image_size, 8",
    ),
    "no such choice": (
        {"streaming": STREAMING | {"unreadable": "ask"}},
        "streaming.unreadable is 'ask': Input should be 'refuse' or 'skip'",
    ),
    "too many threads": (
        {"compute.threads": 100000},
        "compute.threads is 100000: Input should be less than or equal to 1024",
    ),
    "half a character": (
        {"data.location": "\ud800"},
        "data.location is '\\ud800': Input should be",
    ),
    "a null": ({"data.location": "a\0b"}, "data.location is 'a\\x00b': String should match"),
    "a temperature whose square is infinite": (
        {"distillation.temperature": 1e300},
        "distillation.temperature is 1e+300: Input should be less than or equal to 1048576",
    ),
    "target is a list": ({"kurtosis.target": [1.8]}, "kurtosis.target is [1.8]: "),
}


@pytest.mark.parametrize(("overrides", "expected"), BAD.values(), ids=BAD.keys())
def test_a_bad_value_is_named_in_one_line(write_params, overrides, expected):
    path = write_params(overrides)
    with pytest.raises(UserError) as error:
        load_params(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert expected in message
    assert "\n" not in message


def test_every_problem_is_named(write_params):
    path = write_params({"student.epochs": 0, "debug.batch": 1})
    content = read_yaml(path)
    del content["mimicking"]["form"], content["distillation"]
    write_yaml(path, content)
    with pytest.raises(UserError) as error:
        load_params(path)
    for problem in (
        "student.epochs is 0: ",
        "debug.batch is unknown",
        "mimicking.form is missing",
        "distillation is missing",
    ):
        assert problem in str(error.value)


BOMB = b"a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (level, level, b", ".join([b"*a%d" % (level - 1)] * 9))
    for level in range(1, 9)
)
"""9 ** 9 values in 600 bytes."""


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"student: [1", "is not valid YAML"),
        (b"- 1\n", r"must be a mapping of sections, found \[1\]"),
        (b"a: 1\na: 2\n", 'is not valid YAML .*found duplicate key "a"'),
        (b"", "must be a mapping of sections, found None"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"a: " + b"9" * 5000, r"is not valid YAML \(Exceeds the limit \(4300 digits\)"),
        (b"data: 0x" + b"f" * 50_000, "data is a number of thousands of digits: Input should be"),
        (b"a: " + b"[" * 3000, "is nested too deeply"),
        (b"{a: " * 3000, "is nested too deeply"),
        (b"a: !!float abc", "is not valid YAML"),
        (b"a: 2001-99-99", "is not valid YAML .month must be in 1..12"),
        (b"a: !!int ''", "is not valid YAML"),
        (b"a: !!omap [a: 1, 3]", "is not valid YAML"),
        (b"a: !!python/object:os.system {}", "could not determine a constructor"),
        (b"a: &a {b: 1}\nc: {<<: *a}\n", r"the alias \*a: write the value out"),
        (BOMB, r"the alias \*a0: write the value out"),
    ],
)
def test_a_file_that_is_no_mapping(tmp_path, content, expected):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=expected) as error:
        load_params(path)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"missing\.yaml: no such file or directory"):
        load_params(tmp_path / "missing.yaml")
    with pytest.raises(UserError, match="is a directory"):
        load_params(Path(tmp_path))


def test_a_pipe_or_a_device_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(UserError, match=f"{path}: is no file$"):
            load_params(path)
