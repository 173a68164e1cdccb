import math
import os
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.artifacts import (
    atomic_folder,
    atomic_path,
    check_replaceable,
    check_writable,
    read_array,
    read_json,
    read_tensors,
    sha256,
    write_array,
    write_bytes,
    write_csv,
    write_json,
    write_tensors,
    write_text,
)
from pipeline.errors import UserError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


U1 = "{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}"


def header(text):
    """A .npy file that is nothing but its header."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def killed_inside(context):
    """Enter `context` and write in it, in a process that is killed there."""
    writer = os.fork()
    if writer == 0:
        try:
            with context as built:
                write_text(built if built.is_file() else built / "new.txt", "half")
                os.kill(os.getpid(), 9)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(writer, 0)[1]) == -9


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "new/folder/a.txt"
    write_text(path, "kürtosis\n")
    assert path.read_bytes() == "kürtosis\n".encode()
    assert names(path.parent) == ["a.txt"]


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)]
)
def test_the_umask_decides_who_may_read_what_is_written(tmp_path, umask, file, folder):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "a.txt", "")
        with atomic_folder(tmp_path / "cell", "mark") as built:
            write_text(built / "mark", "")
    finally:
        os.umask(before)
    found = [tmp_path / name for name in ("a.txt", "cell/mark", "cell")]
    modes = [0o666 & ~umask, 0o666 & ~umask, 0o777 & ~umask]
    assert [stat.S_IMODE(path.stat().st_mode) for path in found] == modes


def test_a_folder_that_cannot_be_written_is_told_without_a_trace(tmp_path):
    check_writable(tmp_path / "new/folder")
    assert names(tmp_path) == []
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for folder, reason in (
        ("file/curves", "Not a directory"),
        ("link/curves", "No such file or directory"),
        ("x" * 300, "File name too long"),
        ("/proc/self/curves", "No such file or directory"),
    ):
        with pytest.raises(UserError, match=f": could not be written: {reason}$"):
            check_writable(tmp_path / folder)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    (tmp_path / "folder").mkdir()
    for name, reason in (
        ("pipe", "it is no regular file"),
        ("null", "it is no regular file"),
        ("folder", "it is a folder"),
        ("x" * 300, "File name too long"),
    ):
        with pytest.raises(UserError, match=f"{name}: could not be written: {reason}$"):
            check_writable(tmp_path, name)


def test_a_folder_to_replace_that_is_a_link_or_has_no_possible_name(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"link: is a symbolic link; name the folder it leads to$"):
        check_replaceable(tmp_path / "link", "mark")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match=r"pipe: is a file; name a folder to be written$"):
        check_replaceable(tmp_path / "pipe", "mark")
    with pytest.raises(UserError, match=r"x: could not be read: File name too long$"):
        check_replaceable(tmp_path / ("x" * 300), "mark")


def test_a_writer_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        assert path.read_text() == "old"
        raise RuntimeError
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_what_a_killed_writer_left_is_removed(tmp_path):
    killed_inside(atomic_path(tmp_path / "a[1].txt"))
    (tmp_path / ".b.txt.other.part").touch()
    assert len(names(tmp_path)) == 2
    write_text(tmp_path / "a[1].txt", "whole")
    assert names(tmp_path) == [".b.txt.other.part", "a[1].txt"]


def test_no_space_is_one_line_and_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match=r"a\.txt: could not be written: No space left on device$"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_file_in_the_place_of_a_folder_is_one_line(tmp_path):
    (tmp_path / "results").touch()
    with pytest.raises(UserError, match=r"results/a\.txt: could not be written: "):
        write_text(tmp_path / "results/a.txt", "")
    with (
        pytest.raises(UserError, match=r"results/model: could not be written: "),
        atomic_folder(tmp_path / "results/model", "mark"),
    ):
        pass


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    folder = tmp_path / "models/cell"
    for number in range(2):
        with atomic_folder(folder, "mark") as built:
            write_text(built / "mark", "")
            write_text(built / f"{number}.txt", str(number))
            assert not (folder / f"{number}.txt").exists()
        assert names(folder) == [f"{number}.txt", "mark"]
    assert names(folder.parent) == ["cell"]


@pytest.mark.parametrize("found", ["thesis.tex", "cell/mark"])
def test_a_folder_of_another_kind_is_not_replaced(tmp_path, found):
    folder = tmp_path / "models"
    write_text(folder / found, "")
    with (
        pytest.raises(UserError, match=rf"models: holds {found.split('/')[0]}, which no stage"),
        atomic_folder(folder, "mark") as built,
    ):
        write_text(built / "mark", "")
    assert (folder / found).exists()
    with (
        pytest.raises(UserError, match="is a file; name a folder"),
        atomic_folder(folder / found, "mark"),
    ):
        pass


def test_a_folder_whose_writer_fails_or_is_killed_stays_as_it_was(tmp_path):
    folder = tmp_path / "cell"
    write_text(folder / "old.txt", "old")
    with pytest.raises(RuntimeError), atomic_folder(folder, "old.txt") as built:
        write_text(built / "new.txt", "new")
        raise RuntimeError
    assert names(tmp_path) == ["cell"]
    killed_inside(atomic_folder(folder, "old.txt"))
    assert names(folder) == ["old.txt"]
    assert len(names(tmp_path)) == 2, "what the killed one left"
    with atomic_folder(folder, "old.txt") as built:
        write_text(built / "new.txt", "new")
    assert names(folder) == ["new.txt"]
    assert names(tmp_path) == ["cell"]


def test_json_is_in_the_given_order_and_refuses_what_is_not_json(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"b": 1, "a": [0.1, None, "ä"]})
    assert path.read_text() == '{\n  "b": 1,\n  "a": [\n    0.1,\n    null,\n    "ä"\n  ]\n}\n'
    assert read_json(path) == {"b": 1, "a": [0.1, None, "ä"]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"loss": math.nan})
    assert read_json(path)["b"] == 1


def test_csv_has_nine_digits_and_empty_cells(tmp_path):
    table = pd.DataFrame({"epoch": [1, 2], "loss": [1 / 3, None], "layer": ["a", "b"]})
    write_csv(tmp_path / "a.csv", table)
    expected = "epoch,loss,layer\n1,0.333333333,a\n2,,b\n"
    assert (tmp_path / "a.csv").read_bytes() == expected.encode()


def test_arrays(tmp_path):
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    write_array(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(read_array(tmp_path / "a.npy"), array)
    with pytest.raises(ValueError, match="pickle"):
        write_array(tmp_path / "b.npy", np.array([object()]))
    assert names(tmp_path) == ["a.npy"]


def test_tensors_of_any_type_and_layout_in_the_same_bytes(tmp_path):
    tensors = {
        "b": torch.arange(6, dtype=torch.bfloat16).reshape(2, 3).t(),
        "a": torch.ones(1, 2, 3, 4).to(memory_format=torch.channels_last).requires_grad_(),
        "flags": torch.tensor([True, False]),
        "scalar": torch.tensor(3),
    }
    for name in ("first", "again"):
        write_tensors(tmp_path / name, tensors)
    assert sha256(tmp_path / "first") == sha256(tmp_path / "again")
    found = read_tensors(tmp_path / "first")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize(
    ("read", "name", "damaged"),
    [
        (read_json, "a.json", b'{"a": 1'),
        (read_json, "a.json", b"\xff"),
        (read_json, "a.json", b"[" * 100_000),
        (read_json, "a.json", b'{"a": ' * 100_000),
        (read_json, "a.json", b"9" * 5000),
        (read_json, "a.json", b'{"loss": NaN}'),
        (read_json, "a.json", b'{"loss": -Infinity}'),
        (read_json, "a.json", b'{"loss": 1e999}'),
        (read_json, "a.json", b'{"top1": 0.1, "top1": 0.9}'),
        (read_json, "a.json", "\ufeff{}".encode()),
        (read_json, "a.json", b'["half of a pair: \\ud800"]'),
        (read_array, "a.npy", b"not numpy"),
        (read_array, "a.npy", header("{'descr': '|u1', 'fortran_order': False}")),
        (read_array, "a.npy", header("{'descr': '|u1', 'fortran_order': 0, 'shape': (1,)}")),
        (read_array, "a.npy", header("{'descr': 'x', 'fortran_order': False, 'shape': (1,)}")),
        (read_array, "a.npy", header(U1.format(shape="(-1,)"))),
        (read_array, "a.npy", header(U1.format(shape="(10**9,)"))),
        (read_array, "a.npy", header(U1.format(shape=f"({10**40},)"))),
        (read_array, "a.npy", header(U1.format(shape="(1,) * 100"))),
        (read_array, "a.npy", header("(" * 5000)),
        (read_array, "a.npy", b"PK\x03\x04" + bytes(30)),
        (read_array, "a.npy", b""),
        (read_tensors, "a.safetensors", b"short"),
        (read_tensors, "a.safetensors", b""),
    ],
)
def test_a_missing_or_damaged_file_is_named(tmp_path, read, name, damaged):
    path = tmp_path / name
    with pytest.raises(UserError, match=f"{name}: no such file"):
        read(path)
    write_bytes(path, damaged)
    with pytest.raises(UserError, match=rf"{name}: is not (valid JSON|a readable)") as error:
        read(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("read", [read_json, read_array, read_tensors])
def test_what_is_no_file_is_told(tmp_path, read):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").touch()
    for name, reason in (
        ("folder", "is no file"),
        ("fifo", "is no file"),
        ("file/a", "(could not be read: Not a directory|no such file)"),
        ("x" * 300, "could not be read: File name too long"),
    ):
        with pytest.raises(UserError, match=f": {reason}$"):
            read(tmp_path / name)


def test_an_array_that_memory_has_no_room_for_is_named(tmp_path):
    write_bytes(tmp_path / "a.npy", header(U1.format(shape=f"({10**17},)")))
    with pytest.raises(UserError, match=r"a\.npy: needs more memory than there is \(Unable to all"):
        read_array(tmp_path / "a.npy")


@pytest.mark.parametrize("read", [read_json, read_array, read_tensors])
def test_a_file_that_memory_has_no_room_for_is_named(tmp_path, monkeypatch, read):
    def fail(*_, **__):
        raise MemoryError("unable to allocate")

    (tmp_path / "file").touch()
    for reader in ("json.loads", "numpy.lib.format.read_array", "pipeline.artifacts.safe_open"):
        monkeypatch.setattr(reader, fail)
    with pytest.raises(UserError, match=r"file: needs more memory than there is \(unable to allo"):
        read(tmp_path / "file")


def test_an_array_that_needs_a_pickle_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(UserError, match="is not a readable"):
        read_array(tmp_path / "a.npy")


def test_sha256(tmp_path):
    write_bytes(tmp_path / "a", b"abc")
    assert sha256(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="not a regular file"):
            sha256(path)


def test_half_a_character_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match=r"file.json: could not be written: 'utf-8' codec can't en"):
        write_json(tmp_path / "file.json", {"name": "\udcff"})
    assert not list(tmp_path.iterdir())
