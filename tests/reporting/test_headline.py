import subprocess
import sys
from pathlib import Path

from pipeline.reporting.loading import load_results
from tests.reporting.synthetic import MANIFEST, PARAMS, edit_json, set_right
from tools.headline import headline, training_cost

ROOT = Path(__file__).parents[2]


def test_the_table_in_plain_text(own_results: Path) -> None:
    set_right(own_results, "resnet20-binary-1", 324)
    set_right(own_results, "resnet20-binary-2", 342)
    lines = headline(load_results(own_results)).splitlines()
    assert lines[0] == "digits, ResNet-20: test top-1 in %, mean and 95 % interval"
    assert lines[1] == "  Full precision                        not run"
    label, numbers = lines[4][:40], lines[4][40:].split()
    assert label.strip() == "Binary alone"
    low, to, high = numbers[1:4]
    assert (numbers[0], to, numbers[4:]) == ("92.50", "to", ["2", "seeds"])
    # both ends lie beyond the seeds' own top-1: images are drawn as well
    assert float(low) < 90
    assert float(high) > 95


def test_the_verdicts_in_short(shared_results: Path) -> None:
    lines = headline(load_results(shared_results)).splitlines()
    assert lines[10:] == [
        "  bimodal           undecided: 100 % of the layers have two modes; "
        "2 seeds, and 3 are needed",
        "  mimicked          holds: the ratio is below 0.5 and its interval below 1",
        "  structured-maps   undecided: the same at 2 seeds: no interval over seeds",
        "  accurate          undecided: 2 seeds: the interval needs 3",
        "  state-of-the-art  undecided: no published figure for this data and network",
    ]


def test_what_is_no_result_is_marked_as_in_the_report(own_results: Path) -> None:
    edit_json(own_results / "resnet20-binary-2.json", debug=True)
    other = PARAMS | {"student": PARAMS["student"] | {"epochs": 3}}
    edit_json(own_results / "details/resnet20-binary-1.json", params=other)
    edit_json(own_results / "details/resnet20-binary-2.json", manifest=MANIFEST | {"mean": [0.5]})
    assert headline(load_results(own_results)).splitlines()[-3:] == [
        "The rows were not all run on the same data: 2 manifests.",
        "The rows were not all run with the same parameters: student.epochs 3 (1 run), 14 (1 run).",
        "DEBUG RUN, NO RESULT: resnet20-binary-2",
    ]


def test_one_seed_is_told(few_results: Path) -> None:
    lines = headline(load_results(few_results)).splitlines()
    assert len(lines) == 2 * (1 + 9 + 5)
    assert lines[1].endswith("   1 seed, interval over images alone")


def test_the_cost_of_the_trainings(own_results: Path) -> None:
    path = own_results / "provenance/resnet20-binary-2.json"
    training = {"device": "cpu", "cpu": "A Processor", "threads": 2}
    edit_json(
        path,
        training=training
        | {"seconds": 3600.0, "images_per_second": 300.0, "peak_memory_mib": 900.0},
    )
    assert training_cost(load_results(own_results)).splitlines() == [
        "Training: 1.50 hours in all, on device cpu; cpu A Processor; threads 2",
        "  ResNet-20, Binary alone: 2,700 s a seed, 400 images/s, 900 MiB",
    ]


def test_a_seed_without_a_recorded_time_does_not_count(own_results: Path) -> None:
    edit_json(own_results / "provenance/resnet20-binary-2.json", training={"device": "cpu"})
    assert "Binary alone: 1,800 s a seed, 500 images/s, 812 MiB" in training_cost(
        load_results(own_results)
    )


def _command(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.headline", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command(own_results: Path) -> None:
    answer = _command(own_results)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith("digits, ResNet-20")
    assert "\nTraining: 1.00 hours in all" in answer.stdout


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    answer = _command(tmp_path / "none")
    assert answer.returncode == 1
    assert answer.stderr == f"error: {tmp_path / 'none'}: no such folder\n"
