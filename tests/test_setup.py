"""`make setup` installs what requirements.txt has the hash of, and nothing else."""

import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from pipeline.artifacts import sha256
from tests.conftest import ROOT


def write_wheel(folder: Path, content: str) -> Path:
    path = folder / "something-1.0-py3-none-any.whl"
    information = "something-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("something.py", content)
        wheel.writestr(f"{information}/METADATA", "Name: something\nVersion: 1.0\n")
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{information}/RECORD", "")
    return path


def set_up(folder: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}
    return subprocess.run(
        ["make", "setup"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("requirement", ["with the hash", "without a hash"])
def test_an_altered_package_and_one_without_a_hash_are_refused(tmp_path, requirement):
    shutil.copy(ROOT / "Makefile", tmp_path)
    wheel = write_wheel(tmp_path, "")
    whole = wheel.read_bytes()
    given = f" --hash=sha256:{sha256(wheel)}" if requirement == "with the hash" else ""
    (tmp_path / "requirements.txt").write_text(f"something==1.0{given}\n")
    write_wheel(tmp_path, "altered = True")
    end = set_up(tmp_path)
    assert end.returncode != 0
    assert ("DO NOT MATCH THE HASHES" if given else "Hashes are required") in end.stderr
    assert not (tmp_path / ".venv/.installed").exists()
    assert not list(tmp_path.rglob("something.py"))
    if given:
        wheel.write_bytes(whole)
        assert set_up(tmp_path).returncode == 0
        assert list(tmp_path.rglob("something.py"))


def test_every_requirement_has_a_version_and_hashes_and_no_address():
    requirements = re.split(r"\n(?! )", (ROOT / "requirements.txt").read_text().strip())
    assert len(requirements) > 200
    for each in requirements:
        first, *hashes = each.split(" \\\n")
        assert re.fullmatch(r"[\w-]+(\[[\w, -]+\])?==[\w.]+( ; [^:]+)?", first), first
        assert hashes
        assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}", line) for line in hashes), first
