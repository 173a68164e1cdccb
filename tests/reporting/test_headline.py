import subprocess
import sys
from pathlib import Path

from pipeline.reporting.results import load_results
from tests.reporting.synthetic import edit_json
from tools.headline import headline

ROOT = Path(__file__).parents[2]


def test_the_table_in_plain_text(own_results: Path) -> None:
    edit_json(own_results / "resnet20-binary-1.json", top1=0.9)
    edit_json(own_results / "resnet20-binary-2.json", top1=0.92, debug=True)
    lines = headline(load_results(own_results)).splitlines()
    assert lines[0] == "digits, ResNet-20: test top-1, %"
    assert lines[1] == "  Full precision              not run"
    assert lines[3] == "  Binary alone                91.00 ± 1.41     2 seeds"
    assert lines[8:] == ["DEBUG RUN, NO RESULT: resnet20-binary-2"]


def test_one_seed_is_told(few_results: Path) -> None:
    lines = headline(load_results(few_results)).splitlines()
    assert len(lines) == 2 * 8
    assert lines[1].endswith("   1 seed")


def _command(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.headline", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command(own_results: Path) -> None:
    answer = _command(own_results)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith("digits, ResNet-20")


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    answer = _command(tmp_path / "none")
    assert answer.returncode == 1
    assert answer.stderr == f"error: {tmp_path / 'none'}: no such folder\n"
