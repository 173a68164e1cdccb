"""The tests that docs/faults.md names are there."""

import re

from tests.conftest import ROOT


def test_every_fault_names_a_test_that_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "docs/faults.md").read_text())
    assert len(named) > 30
    for file, test in named:
        assert f"def {test}" in (ROOT / file).read_text(), f"{file}::{test}"
