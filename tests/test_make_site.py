"""`make site`, by which alone DVC sees the stage of the site."""

import shutil

import pytest

from tests.clone import Clone
from tests.conftest import ROOT, TINY


@pytest.mark.slow
def test_the_site_is_built_and_stays_out_of_dvcs_sight(tmp_path):
    clone = Clone(tmp_path / "clone", "params.yaml", TINY)
    for folder in ("results/digits", "reports"):
        shutil.copytree(ROOT / folder, clone.folder / folder, dirs_exist_ok=True)
    clone.run("git", "add", "--all")
    clone.run("make", "--old-file=setup", "site")
    assert "<h1" in (clone.folder / "site/index.html").read_text()
    assert not clone.run("git", "ls-files", "--others", "--exclude-standard")
    assert "site" not in clone.run("dvc", "stage", "list", "--all", "--name-only").split()
