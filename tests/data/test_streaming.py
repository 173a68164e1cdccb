"""Streamed batches: what is in them, whatever decodes them, and what can go wrong meanwhile."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pipeline.artifacts import sha256
from pipeline.data.loading import streaming
from pipeline.data.loading.dataset import open_prepared
from pipeline.data.loading.streaming import _start, worker_count
from pipeline.errors import UserError
from pipeline.params import Augmentation
from tests.conftest import ROOT
from tests.data.conftest import colour_of, here, number_of

AUGMENTATION = Augmentation(crop_padding=0, horizontal_flip=True)
SOURCES = ("folders", "shards")


@pytest.fixture(autouse=True)
def _no_workers(monkeypatch):
    monkeypatch.setenv("BDBNN_WORKERS", "0")


def training(folder, batch_size=8, seed=1, **where):
    options = {"batch_size": batch_size, "augmentation": AUGMENTATION, "seed": seed}
    return open_prepared(folder).batches("train", **options, **here(**where))


def evaluation(folder, split="test", batch_size=8, **where):
    options = {"batch_size": batch_size, "augmentation": None, "seed": 0}
    return open_prepared(folder).batches(split, **options, **here(**where))


def whole(batches, epoch=0):
    images, labels = zip(*batches.batches(epoch), strict=True)
    return torch.cat(images), torch.cat(labels)


def numbers(folder, images) -> list[int]:
    """Which numbered image each normalised crop shows."""
    manifest = open_prepared(folder).manifest
    mean, std = (np.array(values) for values in (manifest.mean, manifest.std))
    return [number_of((image.mean((1, 2)).numpy() * std + mean) * 255) for image in images]


def textured(images):
    """Replace the files by images of noise around their colours: no two crops are alike."""
    generator = np.random.default_rng(0)
    for path in sorted(images.root.rglob("*.jpg")):
        noise = generator.integers(-12, 13, (14, 17, 3))
        pixels = (np.array(colour_of(int(path.stem))) + noise).astype(np.uint8)
        Image.fromarray(pixels).save(path, quality=95)
    return images


@pytest.mark.parametrize("source", SOURCES)
def test_evaluation_gives_every_image_once_in_order_with_its_label(indexed, source):
    images = indexed(source)
    folder = images.prepare()
    batches = evaluation(folder)
    pixels, labels = whole(batches)
    assert len(batches) == 3
    assert (pixels.dtype, pixels.shape) == (torch.float32, (20, 3, 8, 8))
    assert labels.dtype == torch.int64
    found = numbers(folder, pixels)
    assert sorted(found) == list(range(40, 60))
    assert [number % 2 for number in found] == labels.tolist()


@pytest.mark.parametrize("source", SOURCES)
def test_training_gives_every_image_once_in_a_new_order_each_epoch(indexed, source):
    folder = indexed(source).prepare()
    batches = training(folder)
    assert [len(labels) for _, labels in batches.batches(0)] == [8, 8, 7, 7]
    orders = []
    for epoch in range(3):
        pixels, labels = whole(batches, epoch)
        orders.append(numbers(folder, pixels))
        assert len(orders[-1]) == len(set(orders[-1])) == 30
        assert [number % 2 for number in orders[-1]] == labels.tolist()
    assert len({tuple(order) for order in orders}) == 3


def test_images_are_normalised_by_the_manifest(indexed):
    folder = textured(indexed()).prepare()
    opened = open_prepared(folder)
    pixels, _ = whole(evaluation(folder))
    mean, std = (
        np.array(values)[:, None, None] for values in (opened.manifest.mean, opened.manifest.std)
    )
    expected = (opened.pixels("test", 3) / 255 - mean) / std
    torch.testing.assert_close(pixels[3], torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize("source", SOURCES)
def test_the_same_batches_whatever_the_number_of_workers_and_after_starting_again(
    indexed, source, monkeypatch
):
    images = indexed(source)
    folder = (textured(images) if source == "folders" else images).prepare()
    alone = training(folder)
    expected = [whole(alone, epoch) for epoch in range(3)]
    for workers in (1, 3):
        monkeypatch.setenv("BDBNN_WORKERS", str(workers))
        again = training(folder)
        torch.manual_seed(workers)
        for epoch in (2, 0):  # as after a restart
            for found, wanted in zip(whole(again, epoch), expected[epoch], strict=True):
                assert torch.equal(found, wanted)
    assert not torch.equal(expected[0][0], whole(training(folder, seed=2))[0])


def test_decoding_leaves_the_random_numbers_of_the_training_alone(indexed):
    folder = indexed().prepare()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    whole(training(folder))
    assert torch.equal(torch.rand(4), expected)


def test_each_image_is_cropped_anew_in_each_epoch(indexed):
    folder = textured(indexed()).prepare()
    batches = training(folder)
    shown = {}
    for epoch in range(3):
        pixels, _ = whole(batches, epoch)
        for image, number in zip(pixels, numbers(folder, pixels), strict=True):
            shown.setdefault(number, []).append(image)
    assert len(shown) == 30
    for crops in shown.values():
        assert len(crops) == 3
        assert not torch.equal(crops[0], crops[1])


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", [training, evaluation])
def test_ranks_together_give_the_batches_of_one_process(indexed, source, kind):
    folder = indexed(source).prepare()
    alone = list(kind(folder).batches(2))
    ranks = [list(kind(folder, rank=rank, world_size=3).batches(2)) for rank in range(3)]
    for (images, labels), *shares in zip(alone, *ranks, strict=True):
        assert torch.equal(torch.cat([share[0] for share in shares]), images)
        assert torch.equal(torch.cat([share[1] for share in shares]), labels)


def test_more_ranks_than_images_leave_some_with_none(indexed):
    folder = indexed().prepare()
    shares = [list(evaluation(folder, rank=rank, world_size=7).batches(0)) for rank in range(7)]
    assert min(len(images) for share in shares for images, _ in share) == 0
    assert sum(len(images) for share in shares for images, _ in share) == 20


def test_channels_last_changes_the_memory_format_alone(indexed):
    folder = indexed().prepare()
    (usual, _), (last, _) = (
        next(training(folder, channels_last=each).batches(0)) for each in (False, True)
    )
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert usual.is_contiguous()
    assert torch.equal(usual, last)


def test_rows_are_shuffled_in_windows_of_row_groups(indexed, monkeypatch):
    monkeypatch.setattr(streaming, "SHUFFLE_WINDOW", 14)
    folder = indexed("shards", 84).prepare(validation=0.1)
    groups = np.array([f"shard {number // 42}, {number % 42 // 7}" for number in range(84)])
    windows = []
    for epoch in range(4):
        order = np.array(numbers(folder, whole(training(folder, batch_size=7), epoch)[0]))
        assert len(set(order)) == len(order) == 76
        windows.append([frozenset(groups[order[start : start + 14]]) for start in (0, 14, 28)])
        assert all(2 <= len(window) <= 4 for window in windows[-1])
        assert not (np.diff(order[:14]) > 0).all()
    assert len({window[0] for window in windows}) > 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_vanished_is_one_line(indexed, workers, monkeypatch):
    monkeypatch.setenv("BDBNN_WORKERS", str(workers))
    images = indexed()
    folder = images.prepare()
    images.path("test", 45).unlink()
    with pytest.raises(UserError) as error:
        whole(evaluation(folder))
    path = images.path("test", 45)
    assert str(error.value) == f"{path}: could not be read: No such file or directory"


def test_a_file_that_changed_is_one_line(indexed):
    images = indexed()
    folder = images.prepare()
    path = images.path("test", 45)
    before = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(UserError) as error:
        whole(evaluation(folder))
    assert str(error.value) == (
        f"{path}: has {before + 4} bytes, had {before} when it was indexed; "
        "run the stage prepare again"
    )
    index = next(
        number
        for number, row in enumerate(pq.read_table(folder / "test.parquet").to_pylist())
        if row["path"].endswith("045.jpg")
    )
    with pytest.raises(UserError, match="when it was indexed"):
        open_prepared(folder).pixels("test", index)


def test_a_file_that_became_a_pipe_is_one_line(indexed):
    images = indexed()
    folder = images.prepare()
    path = images.path("test", 45)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match=rf"^{path}: could not be read: not a regular file$"):
        whole(evaluation(folder))


def test_labels_that_do_not_fit_the_manifest_are_named(indexed):
    folder = indexed().prepare()
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    content["counts"]["test"] = [9, 11]
    path.write_text(json.dumps(content))
    evaluation(folder, "validation")
    with pytest.raises(UserError, match=r"test.parquet: holds other numbers of images of each"):
        evaluation(folder)


def test_a_shard_that_vanished_is_one_line(indexed):
    images = indexed("shards")
    folder = images.prepare()
    path = images.root / "test-00001-of-00002.parquet"
    path.unlink()
    with pytest.raises(UserError, match=rf"^{path}: is not a whole Parquet file \(.*No such file"):
        whole(evaluation(folder))


@pytest.mark.parametrize("change", ["larger groups", "smaller groups", "fewer rows"])
def test_a_shard_written_anew_is_one_line(indexed, change):
    images = indexed("shards")
    folder = images.prepare()
    path = images.root / "test-00001-of-00002.parquet"
    table = pq.read_table(path)
    rows = {"larger groups": len(table), "smaller groups": 1, "fewer rows": len(table)}
    if change == "fewer rows":
        table = table.slice(0, 1)
    pq.write_table(table, path, row_group_size=rows[change])
    with pytest.raises(UserError) as error:
        whole(evaluation(folder))
    assert str(error.value) == (
        f"{path}: is not the shard that was indexed; run the stage prepare again"
    )


def test_a_damaged_or_missing_index_is_named(indexed):
    folder = indexed().prepare()
    path = folder / "test.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"test.parquet: differs from its checksum in manifest"):
        evaluation(folder)
    path.unlink()
    with pytest.raises(UserError, match=r"test.parquet: no such file$"):
        evaluation(folder)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("row", None),
        ("path", pa.nulls(20, pa.string())),
        ("path", pa.array(range(20))),
        ("row", pa.array(["-1"] * 20)),
    ],
    ids=["no column", "no paths", "paths are numbers", "rows are text"],
)
def test_an_index_that_fits_its_checksum_but_is_none_is_named(indexed, name, values):
    folder = indexed().prepare()
    path = folder / "test.parquet"
    table = pq.read_table(path)
    place = table.column_names.index(name)
    table = table.remove_column(place) if values is None else table.set_column(place, name, values)
    pq.write_table(table, path)
    vouch_for(path)
    with pytest.raises(UserError, match=r"test.parquet: is not (the|an) index of (a split|im)"):
        evaluation(folder)
    path.write_bytes(b"")
    vouch_for(path)
    with pytest.raises(UserError, match=r"test.parquet: is not an index of images \(.* 0 bytes\)$"):
        evaluation(folder)


def vouch_for(path):
    """Put the checksum of a file into the manifest beside it."""
    manifest = path.with_name("manifest.json")
    content = json.loads(manifest.read_text())
    content["checksums"][path.name] = sha256(path)
    manifest.write_text(json.dumps(content))


def test_a_path_in_an_index_that_no_file_can_have(indexed):
    folder = indexed().prepare()
    path = folder / "test.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(0, "path", pa.array(["a\0b"] * 20)), path)
    vouch_for(path)
    with pytest.raises(UserError, match=r"could not be read: embedded null byte$"):
        whole(evaluation(folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 1, "mean": [0.5], "std": [0.5]}, "channels is 1, streamed images have 3"),
        ({"image_size": 512}, "streaming.resize is "),
        ({"location": "a\0b"}, "location: String should match"),
    ],
)
def test_a_manifest_that_contradicts_its_section_streaming(indexed, changes, message):
    folder = indexed().prepare()
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError, match=rf"manifest.json: is no manifest \(.*{message}"):
        evaluation(folder)


def test_a_shard_whose_images_became_something_else_is_named(indexed):
    images = indexed("shards")
    folder = images.prepare()
    path = images.root / "test-00001-of-00002.parquet"
    labels = pq.read_table(path)["label"]
    pq.write_table(pa.table({"image": pa.array([1] * len(labels)), "label": labels}), path)
    with pytest.raises(UserError, match=rf"^{path}: column image is int64, not a struct with byt"):
        whole(evaluation(folder))


def test_a_location_that_is_not_set_is_named(indexed, monkeypatch):
    images = indexed()
    monkeypatch.setenv("IMAGES", str(images.root))
    folder = images.prepare(location="$IMAGES")
    assert len(whole(evaluation(folder))[0]) == 20
    monkeypatch.delenv("IMAGES")
    with pytest.raises(UserError, match=r"the environment variable IMAGES is not set$"):
        open_prepared(folder)


def test_a_killed_worker_is_one_line(indexed, monkeypatch):
    monkeypatch.setenv("BDBNN_WORKERS", "1")
    folder = indexed(count=80).prepare()
    batches = evaluation(folder, "train", batch_size=1).batches(0)
    next(batches)
    (worker,) = psutil.Process().children()
    worker.kill()
    with pytest.raises(UserError, match=r"^a process that decodes images died; perhaps"):
        list(batches)


def test_workers_ignore_signals_and_end_with_the_batches(indexed, monkeypatch):
    monkeypatch.setenv("BDBNN_WORKERS", "2")
    folder = indexed(count=80).prepare()
    batches = evaluation(folder, "train", batch_size=1).batches(0)
    next(batches)
    workers = psutil.Process().children()
    assert len(workers) == 2
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
        worker.send_signal(signal.SIGINT)
    assert len(list(batches)) == 59
    assert not psutil.wait_procs(workers, timeout=10)[1]


def test_a_signal_while_workers_start_waits_for_the_training():
    reached = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it

    class Loader:
        def __iter__(self):
            signal.raise_signal(signal.SIGINT)
            reached.append("workers are there")
            return iter(())

    try:
        with pytest.raises(KeyboardInterrupt):
            _start(Loader())
    finally:
        signal.signal(signal.SIGINT, before)
    assert reached
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


ABANDONED = """
import sys
from pathlib import Path
from tests.data.test_streaming import evaluation
batches = evaluation(Path(sys.argv[1]), "train", batch_size=1).batches(0)
next(batches)
print("started", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def abandoned(indexed):
    """A process in the middle of its batches, which it leaves at the end of its input."""
    with subprocess.Popen(
        [sys.executable, "-c", ABANDONED, str(indexed().prepare())],
        cwd=ROOT,
        env={**os.environ, "BDBNN_WORKERS": "2"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"started\n"
        yield process


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's signal at a parent's death")
def test_workers_do_not_outlive_a_killed_training(abandoned):
    workers = psutil.Process(abandoned.pid).children()
    assert len(workers) == 2
    abandoned.kill()
    abandoned.wait()
    assert not psutil.wait_procs(workers, timeout=2)[1]


def test_a_training_that_fails_does_not_wait_for_its_workers(abandoned):
    workers = psutil.Process(abandoned.pid).children()
    assert abandoned.communicate(timeout=30) == (b"", b"")
    assert abandoned.returncode == 0
    assert not psutil.wait_procs(workers, timeout=2)[1]


def test_the_number_of_workers_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("BDBNN_WORKERS", "7")
    assert worker_count() == 7
    monkeypatch.delenv("BDBNN_WORKERS")
    cpus = joblib.cpu_count()  # those of the process, or fewer where a container has a quota
    assert worker_count() == cpus <= len(psutil.Process().cpu_affinity())
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert worker_count() == max(1, cpus // 2)
    for value in ("two", "0", "-1", ""):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", value)
        with pytest.raises(UserError, match=rf"^LOCAL_WORLD_SIZE is '{value}': torchrun sets it"):
            worker_count()
    for value in ("two", "-1", "1.5", "10000", "\u0661"):
        monkeypatch.setenv("BDBNN_WORKERS", value)
        with pytest.raises(UserError, match=rf"^BDBNN_WORKERS is '{value}': must be a number"):
            worker_count()
    monkeypatch.setenv("BDBNN_WORKERS", "9" * 5000)
    with pytest.raises(UserError, match=r"^BDBNN_WORKERS is '9+\.\.\.9+': must be a number"):
        worker_count()


@pytest.mark.skipif(sys.platform != "linux", reason="sets the CPUs of a process")
def test_a_process_kept_to_one_cpu_has_one_worker():
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from pipeline.data.loading.streaming import worker_count; print(worker_count())"
    )
    environment = {k: v for k, v in os.environ.items() if k != "BDBNN_WORKERS"}
    command = [sys.executable, "-c", program]
    assert subprocess.check_output(command, cwd=ROOT, env=environment).split() == [b"1"]


PROGRAM = """
import sys, torch.distributed as dist
from pathlib import Path
from tests.data.test_streaming import evaluation, numbers, training

folder, out = map(Path, sys.argv[1:])
dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
for split, kind in (("train", training), ("test", evaluation)):
    batches = kind(folder, batch_size=6, rank=rank, world_size=size)
    seen = [numbers(folder, images) for images, _ in batches.batches(0)]
    (out / f"{split}-{rank}").write_text(repr(seen))
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_of_torchrun_see_every_image_once(indexed, tmp_path):
    folder = indexed(count=42).prepare()  # 32 to train, in batches of 6 and of 5
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    launch = "torch.distributed.run", "--standalone", "--nproc-per-node=2"
    end = subprocess.run(
        [sys.executable, "-m", *launch, str(program), str(folder), str(tmp_path)],
        env={**os.environ, "BDBNN_WORKERS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert end.returncode == 0, end.stderr
    for split, batches, images in (
        ("train", training(folder, batch_size=6), 32),
        ("test", evaluation(folder, batch_size=6), 21),
    ):
        first, second = (eval((tmp_path / f"{split}-{rank}").read_text()) for rank in range(2))
        together = [one + other for one, other in zip(first, second, strict=True)]
        alone = [numbers(folder, pixels) for pixels, _ in batches.batches(0)]
        assert together == alone
        seen = list(itertools.chain(*together))
        assert len(seen) == len(set(seen)) == images


def memory(process: psutil.Process) -> int:
    """Bytes of a process and its workers, without files they have mapped; shared ones once."""
    text = "".join(
        Path(f"/proc/{each.pid}/smaps_rollup").read_text()
        for each in (process, *process.children())
    )
    lines = [line.split() for line in text.splitlines()]
    return sum(1024 * int(line[1]) for line in lines if line[0] in ("Pss_Anon:", "Pss_Shmem:"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("source", SOURCES)
def test_memory_stays_flat_over_an_epoch(indexed, source, monkeypatch):
    monkeypatch.setenv("BDBNN_WORKERS", "2")
    batches = training(indexed(source, 800).prepare(), batch_size=4)
    used = []
    for number, _ in enumerate(batches.batches(0)):
        if number % 15 == 0:
            time.sleep(0.05)
            used.append(memory(psutil.Process()))
    assert len(used) == 10
    assert max(used[5:]) - max(used[2:5]) < 2**20 * 3
