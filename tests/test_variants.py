"""The parameters of a variant: those of its table with one set to another value."""

import sys
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.params import load_params
from pipeline.variants import Setting, parse_setting, write_variant
from stages.vary import main
from tests.conftest import ROOT

PARAMS = ROOT / "tables/study/params.yaml"


@pytest.mark.parametrize(
    ("variant", "section", "name", "value"),
    [
        ("kurtosis.target=1.0", "kurtosis", "target", 1.0),
        ("mimicking.form=released", "mimicking", "form", "released"),
        ("student.epochs=3", "student", "epochs", 3),
        ("compute.compile=on", "compute", "compile", "on"),
    ],
)
def test_one_parameter_changes_and_no_other(tmp_path, monkeypatch, variant, section, name, value):
    out = tmp_path / "new" / "variant.yaml"
    command = ["vary", "--params", str(PARAMS), "--variant", variant, "--out", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    main()
    expected = load_params(PARAMS).model_dump()
    expected[section][name] = value
    assert load_params(out).model_dump() == expected
    assert parse_setting(variant) == Setting(section, name, value)


@pytest.mark.parametrize(
    ("variant", "reason"),
    [
        ("kurtosis.targt=1.0", "kurtosis.targt is unknown"),
        ("curtosis.target=1.0", "curtosis is unknown"),
        ("kurtosis.target=0.5", "kurtosis.target is 0.5: kurtosis is never below 1"),
        ("mimicking.form=sorted", "mimicking.form is 'sorted': Input should be 'quantile', "),
        ("kurtosis.target=1.8", f"is no variant, as {PARAMS} has that value"),
        ("kurtosis.target", "must be section.name=value"),
        ("kurtosis=1.0", "must be section.name=value"),
        ("kurtosis.target=", "must be section.name=value"),
        ("kurtosis.target=[1.0]", "must be section.name=value"),
        ("kurtosis.target=[", "must be section.name=value"),
        ("../kurtosis.target=1", "must be section.name=value"),
        ("kurtosis.target=2001-99-99", "must be section.name=value"),
        ("kurtosis.target=!!float x", "must be section.name=value"),
        ("kurtosis.target=" + "9" * 5000, "must be section.name=value"),
        ("kurtosis.target=" + "[" * 3000, "must be section.name=value"),
    ],
)
def test_what_is_no_variant_is_refused_in_one_line(tmp_path, variant, reason):
    with pytest.raises(UserError) as caught:
        write_variant(PARAMS, variant, tmp_path / "params.yaml")
    assert str(caught.value).startswith(f"variant {variant!r}: {reason}")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_section_that_is_null_is_missing(write_params, tmp_path):
    path = write_params({"streaming": None})
    with pytest.raises(
        UserError, match=r"^variant 'streaming.resize=9': streaming.crop_scale_min "
    ):
        write_variant(path, "streaming.resize=9", tmp_path / "variant.yaml")


@pytest.mark.parametrize("out", ["", "folder"])
def test_no_file_to_write_is_named(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"^\S+: could not be written: it is a folder$"):
        write_variant(PARAMS, "kurtosis.target=1.0", Path(out))


def test_params_that_are_not_valid_are_named_themselves(tmp_path):
    with pytest.raises(UserError, match=r"^nowhere\.yaml: no such file"):
        write_variant(Path("nowhere.yaml"), "kurtosis.target=1.0", tmp_path / "params.yaml")
