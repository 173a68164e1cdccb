import os

import pytest
import torch

from pipeline.distributed import World
from pipeline.errors import UserError
from pipeline.training.checkpoint import Scratch, fingerprint, read_checkpoint
from tools import clean

ALONE = World(rank=0, size=1)


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with Scratch("digits/cell", "key", ALONE) as scratch:
        yield scratch


def save_epochs(scratch, count):
    for epoch in range(1, count + 1):
        scratch.save(epoch, {"w": torch.tensor([float(epoch)])}, {"epochs_done": epoch})


def newest(scratch):
    """Tensors and state of the newest intact checkpoint; None: there is none."""
    found = next(scratch.intact(), None)
    return found and read_checkpoint(found[1], str(found[0]))


def files(tmp_path):
    return sorted(path.name for path in (tmp_path / ".scratch/digits/cell/key").iterdir())


def test_nothing_saved_loads_as_nothing(scratch):
    assert newest(scratch) is None


def test_the_newest_checkpoint_is_loaded_and_two_are_kept(scratch, tmp_path):
    save_epochs(scratch, 4)
    tensors, state = newest(scratch)
    assert tensors["w"].item() == 4
    assert state == {"epochs_done": 4}
    assert [name for name in files(tmp_path) if name.endswith(".safetensors")] == [
        "epoch-0003.safetensors",
        "epoch-0004.safetensors",
    ]


@pytest.mark.parametrize(
    "damage", ["truncated", "altered", "unfinished", "no text", "no file", "pipe", "pipe as mark"]
)
def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_taken(
    scratch, tmp_path, capsys, damage
):
    save_epochs(scratch, 3)
    last = tmp_path / ".scratch/digits/cell/key/epoch-0003.safetensors"
    content = bytearray(last.read_bytes())
    if damage == "truncated":
        last.write_bytes(content[:-1])
    elif damage == "altered":
        content[-1] ^= 1
        last.write_bytes(content)
    elif damage == "no text":
        last.with_suffix(".sha256").write_bytes(b"\xff\xfe\x00")
    elif damage == "no file":
        last.unlink()
        last.mkdir()
    elif damage.startswith("pipe"):
        path = last if damage == "pipe" else last.with_suffix(".sha256")
        path.unlink()
        os.mkfifo(path)
    else:
        last.with_suffix(".sha256").unlink()
    tensors, state = newest(scratch)
    assert (tensors["w"].item(), state["epochs_done"]) == (2, 2)
    if damage != "unfinished":
        assert "epoch-0003.safetensors: is damaged" in capsys.readouterr().err
    if damage != "no file":
        save_epochs(scratch, 6)
        assert newest(scratch)[1] == {"epochs_done": 6}


def test_a_file_that_is_called_otherwise_is_none_of_its_checkpoints(scratch, tmp_path, capsys):
    save_epochs(scratch, 1)
    folder = tmp_path / ".scratch/digits/cell/key"
    for stem in ("epoch-abc", "epoch-", "epoch-0001 copy", "epoch-\u0661\u0661\u0661\u0661"):
        for suffix in (".sha256", ".safetensors"):
            (folder / f"{stem}{suffix}").touch()
    assert newest(scratch)[1] == {"epochs_done": 1}
    assert capsys.readouterr().err == ""


def test_a_second_run_of_the_cell_is_refused(scratch):
    with (
        pytest.raises(UserError, match=r"digits/cell: another process is training this run"),
        Scratch("digits/cell", "other key", ALONE),
    ):
        pass


def test_clearing_removes_every_fingerprint_of_the_cell(scratch, tmp_path):
    save_epochs(scratch, 1)
    (tmp_path / ".scratch/digits/cell/older").mkdir()
    (tmp_path / ".scratch/digits/cell/oldest.lock").touch()
    scratch.clear()
    assert not (tmp_path / ".scratch/digits/cell").exists()


def test_checkpoints_of_abandoned_settings_do_not_pile_up(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for number in range(6):
        with Scratch("digits/cell", f"key-{number}", ALONE) as stopped:
            save_epochs(stopped, 1)
        folder = tmp_path / f".scratch/digits/cell/key-{number}"
        os.utime(folder, (number, number))
    left = sorted(path.name for path in (tmp_path / ".scratch/digits/cell").iterdir())
    newest = [f"key-{number}" for number in (2, 3, 4, 5)]
    assert [name for name in left if not name.endswith(".lock")] == newest


def test_the_ten_thousandth_epoch_is_the_newest(scratch):
    for epoch in (9999, 10000, 10001):
        scratch.save(epoch, {"w": torch.zeros(1)}, {"epochs_done": epoch})
    assert newest(scratch)[1] == {"epochs_done": 10001}


def test_an_experiment_beside_it_shares_the_area_but_neither_folder_nor_checkpoints(
    scratch, tmp_path, monkeypatch
):
    """DVC runs queued experiments in folders of their own, with DVC_ROOT that of the repository."""
    save_epochs(scratch, 1)
    (tmp_path / "experiment").mkdir()
    monkeypatch.chdir(tmp_path / "experiment")
    with (
        pytest.raises(UserError, match=r"digits/cell: another process is training this run"),
        Scratch("digits/cell", "key", ALONE),
    ):
        pass
    with Scratch("digits/cell", "other key", ALONE) as other:
        save_epochs(other, 2)
        other.clear()
        assert newest(other) is None
        assert newest(scratch)[1] == {"epochs_done": 1}
    with Scratch("digits/cell", "other key", ALONE) as other:
        save_epochs(other, 3)
        monkeypatch.chdir(tmp_path)
        scratch.clear()
        assert newest(scratch) is None
        assert newest(other)[1] == {"epochs_done": 3}
    scratch.clear()
    assert not (tmp_path / ".scratch/digits/cell").exists()


def test_clean_leaves_what_a_training_uses(scratch, tmp_path):
    save_epochs(scratch, 1)
    with pytest.raises(UserError, match=r"\.lock: a training holds it; wait or stop it$"):
        clean.main()
    assert newest(scratch)[1] == {"epochs_done": 1}
    scratch.__exit__()
    clean.main()
    assert not (tmp_path / ".scratch").exists()
    clean.main()


def test_clean_removes_nothing_but_the_scratch_area(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "far").mkdir()
    (tmp_path / ".scratch").symlink_to("far")
    with pytest.raises(UserError, match=r"^\.scratch: is no folder of this project; remove it by"):
        clean.main()
    (tmp_path / ".scratch").unlink()
    (tmp_path / ".scratch").touch()
    with pytest.raises(UserError, match=r"^\.scratch: is no folder of this project; remove it by"):
        clean.main()
    (tmp_path / ".scratch").unlink()
    (tmp_path / ".scratch/folder.lock").mkdir(parents=True)

    def forbidden(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", forbidden)
        with pytest.raises(
            UserError, match=r"^\.scratch: could not be removed: Permission denied$"
        ):
            clean.main()
    clean.main()
    assert [path.name for path in tmp_path.iterdir()] == ["far"]


def test_the_fingerprint_changes_with_any_input():
    assert fingerprint(seed=1, data={"a": "b"}) == fingerprint(data={"a": "b"}, seed=1)
    assert fingerprint(seed=1) != fingerprint(seed=2)


def test_no_space_ends_in_one_line_and_leaves_no_part(scratch, tmp_path, monkeypatch):
    save_epochs(scratch, 1)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match=r"epoch-0002\.safetensors: could not be written: No space"):
        scratch.save(2, {"w": torch.zeros(1)}, {})
    assert files(tmp_path) == ["epoch-0001.safetensors", "epoch-0001.sha256"]
