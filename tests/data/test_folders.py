import hashlib
import os
import shutil
import socket
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data.sources.prepare import prepare
from pipeline.data.sources.registry import load_source
from pipeline.data.sources.splitting import split_source
from pipeline.errors import UserError

SIZES = [(8, 8), (20, 11), (9, 31), (7, 5)]


@pytest.fixture
def fill(tmp_path, photo):
    """Make class folders of images in several formats, modes and sizes."""

    def make(*splits, classes=("cat", "dog"), root=tmp_path):
        for number, split in enumerate(splits):
            for label, name in enumerate(classes):
                folder = root / split / name
                folder.mkdir(parents=True)
                images = [
                    photo(*size, seed=100 * number + 10 * label + position)
                    for position, size in enumerate(SIZES)
                ]
                images[0].save(folder / "a.png")
                images[1].save(folder / "b.JPEG", quality=90)
                images[2].convert("L").save(folder / "c.webp", lossless=True)
                (folder / "deeper").mkdir()
                images[3].convert("P").save(folder / "deeper" / "d.gif")
        return root

    return make


@pytest.mark.parametrize("held_out", ["val", "test"])
def test_the_only_held_out_folder_is_the_test_set(fill, data, held_out):
    source = load_source(data(location=str(fill("train", held_out))))
    assert source.classes == ("cat", "dog")
    assert source.train.labels.tolist() == [0] * 4 + [1] * 4
    assert source.test.labels.tolist() == [0] * 4 + [1] * 4
    assert source.validation is None
    train, validation, test = split_source(source, data())
    assert [len(split.labels) for split in (train, validation, test)] == [6, 2, 8]
    assert test.images.shape == (8, 3, 8, 8)


def test_with_both_val_is_validation_and_test_is_test(fill, data):
    root = fill("train", "val", "test")
    source = load_source(data(location=str(root)))
    assert source.validation is not None
    for samples, name in ((source.validation, "val"), (source.test, "test")):
        first = np.asarray(Image.open(root / name / "cat" / "a.png"))
        np.testing.assert_array_equal(samples.decode(np.array([0]), 8)[0], first.transpose(2, 0, 1))
    train, validation, test = split_source(source, data())
    assert [len(split.labels) for split in (train, validation, test)] == [8, 8, 8]


def test_a_file_name_that_is_not_utf_8_is_told(fill, data):
    root = fill("train", "val")
    odd = root / "train" / "cat" / os.fsdecode(b"caf\xe9.png")
    try:
        (root / "train" / "cat" / "a.png").rename(odd)
    except OSError:
        pytest.skip("this file system holds UTF-8 names alone")
    with pytest.raises(UserError) as error:
        load_source(data(location=str(root)))
    assert str(error.value) == (
        f"{root}: the file name 'train/cat/caf\\udce9.png' is not UTF-8; rename it"
    )


def test_hidden_and_other_files_are_passed_over(fill, data):
    root = fill("train", "test")
    for name in (".hidden.png", "notes.txt", "Thumbs.db", "layers.psd", "texture.tga"):
        (root / "train" / "cat" / name).write_text("no image")
    (root / "train" / ".cache").mkdir()
    (root / "train" / "dog" / "folder.png").mkdir()
    source = load_source(data(location=str(root)))
    assert source.classes == ("cat", "dog")
    assert source.train.labels.size == 8
    split_source(source, data())


def test_origin_is_what_sha256sum_says_of_the_files(fill, data):
    root = fill("train", "test")
    lines = "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n"
        for path in sorted(root.rglob("*.*"), key=lambda path: str(path.relative_to(root)))
    )
    digest = hashlib.sha256(lines.encode()).hexdigest()
    assert load_source(data(location=str(root))).origin == {"files": 16, "sha256": digest}


def test_a_set_of_grey_images_has_one_channel(tmp_path, photo, data):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for number in range(4):
                photo(9, 7, number).convert("L").save(folder / f"{number}.jpg")
    train, _, test = split_source(load_source(data(location=str(tmp_path))), data())
    assert train.images.shape == (6, 1, 8, 8)
    assert test.images.shape == (8, 1, 8, 8)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("truncated.png", None),
        ("text.jpg", b"this is a text file"),
    ],
)
def test_an_image_that_cannot_be_decoded_is_named(fill, data, photo, name, content):
    root = fill("train", "test")
    path = root / "train" / "dog" / name
    if content is None:
        photo(50, 50).save(path)
        content = path.read_bytes()[:-200]
    path.write_bytes(content)
    source = load_source(data(location=str(root)))
    with pytest.raises(UserError, match=rf"^{path}: could not be decoded \(.+\)$"):
        split_source(source, data())


def test_a_file_that_cannot_be_read_is_named(fill, data):
    root = fill("train", "test")
    (root / "test" / "cat" / "lost.png").symlink_to(root / "nowhere.png")
    source = load_source(data(location=str(root)))
    for read in (lambda: split_source(source, data()), lambda: source.origin):
        with pytest.raises(UserError, match=r"lost.png: could not be read: No such file"):
            read()


def image_count(root, data) -> list[int]:
    return np.bincount(load_source(data(location=str(root))).train.labels).tolist()


@pytest.mark.parametrize("level", ["train/cat/more", "train/cat/deeper/more", "train/bird"])
def test_linked_folders_are_followed(fill, data, photo, tmp_path_factory, level):
    root = fill("train", "test")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for number in range(3):
        photo(8, 8, number).save(elsewhere / f"{number}.png")
    (root / level).symlink_to(elsewhere)
    if level == "train/bird":
        others = shutil.copytree(elsewhere, tmp_path_factory.mktemp("others") / "birds")
        (root / "test" / "bird").symlink_to(others)
    assert image_count(root, data) == ([3, 4, 4] if level == "train/bird" else [7, 4])
    train, _, _ = split_source(load_source(data(location=str(root))), data(validation=0.3))
    assert len(train.labels) == 8


@pytest.mark.parametrize("name", ["train/cat/more", "train/bird", "val"])
def test_a_link_that_leads_nowhere_is_named(fill, data, name):
    root = fill("train", "test")
    (root / name).symlink_to(root / "unmounted")
    (root / "train" / "cat" / ".#lock").symlink_to("user@host:1")
    with pytest.raises(UserError, match=rf"^{root / name}: is a symbolic link that leads nowhere$"):
        load_source(data(location=str(root)))


def test_a_link_to_a_folder_above_it_is_named(fill, data):
    root = fill("train", "test")
    link = root / "train" / "cat" / "deeper" / "round"
    link.symlink_to(root / "train" / "cat")
    with pytest.raises(UserError, match=rf"^{link}: is a symbolic link to a folder above it$"):
        load_source(data(location=str(root)))


@pytest.mark.parametrize("name", ["train", "train/cat", "train/cat/deeper"])
def test_a_folder_that_cannot_be_read_is_named(fill, data, name):
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:  # pytest's is for its user alone
        Path(folder).chmod(0o755)
        root = fill("train", "test", root=Path(folder))
        (root / name).chmod(0)
        if user == 0:  # who may read everything
            os.seteuid(65534)
        try:
            with pytest.raises(UserError) as error:
                load_source(data(location=folder))
        finally:
            os.seteuid(user)
            (root / name).chmod(0o755)
    assert str(error.value) == f"{root / name}: could not be read: Permission denied"


def special(path, kind):
    """Make a pipe, or a socket."""
    if kind == "pipe":
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_what_is_no_regular_file_is_named(fill, data, kind):
    root = fill("train", "test")
    path = root / "train" / "cat" / "z.png"
    special(path, kind)
    source = load_source(data(location=str(root)))
    for read in (lambda: split_source(source, data()), lambda: source.origin):
        with pytest.raises(UserError, match=rf"{path}: could not be read: not a regular file$"):
            read()


def remove(root, name):
    for path in sorted((root / name).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (root / name).rmdir()


def empty(root, name):
    remove(root, name)
    (root / name).mkdir()


@pytest.mark.parametrize(
    ("change", "name", "message"),
    [
        (remove, "test/dog", r"test: lacks the class dog of train$"),
        (remove, "train/dog", r"test: has the class dog, which train lacks$"),
        (remove, "train", r"train: no such folder$"),
        (remove, "test", r"has neither a folder val nor test beside train$"),
        (empty, "train", r"train: has no class folder$"),
        (empty, "test", r"test: has no class folder$"),
        (empty, "train/cat", r"train/cat: holds no image$"),
        (empty, "test/cat", r"test/cat: holds no image$"),
    ],
)
def test_missing_and_empty_folders_are_named(fill, data, change, name, message):
    root = fill("train", "test")
    change(root, name)
    with pytest.raises(UserError, match=message):
        load_source(data(location=str(root)))


def test_files_that_are_left_out_are_named(fill, data, tmp_path, capsys):
    root = fill("train", "test")
    for name in ("cat/x.avif", "dog/deeper/no_suffix", "lost.png", ".hidden"):
        (root / "train" / name).touch()
    prepare(data(location=str(root)), None, tmp_path / "prepared")
    assert capsys.readouterr().err == (
        f"{root}: 3 files were left out, which are no images by their suffix or lie in no class "
        "(train/lost.png, train/cat/x.avif, train/dog/deeper/no_suffix)\n"
    )


@pytest.mark.parametrize(
    ("link", "target", "told"),
    [
        ("train/cat/again", "../dog", "train/dog: is {root}/train/cat/again once more"),
        ("test/dog/more", "../../train/dog", "test/dog/more: is {root}/train/dog once more"),
    ],
)
def test_images_that_would_count_twice_are_refused(fill, data, link, target, told):
    root = fill("train", "test")
    (root / link).symlink_to(target)
    with pytest.raises(UserError) as error:
        load_source(data(location=str(root)))
    assert str(error.value) == f"{root}/{told.format(root=root)}, through a symbolic link"


def test_training_images_are_no_test_images(fill, data):
    root = fill("train")
    (root / "test").symlink_to("train")
    with pytest.raises(UserError, match=r"test/cat: is .*train/cat once more, through a symbolic"):
        load_source(data(location=str(root)))


def test_a_folder_that_lies_too_deep_is_named(fill, data):
    root = fill("train", "test")
    (root / "train" / "cat" / "/".join("x" * 1300)[:1300]).mkdir(parents=True)
    with pytest.raises(UserError, match=r"/x: lies more than 100 folders deep$"):
        load_source(data(location=str(root)))


def test_classes_that_look_the_same_are_refused(fill, data):
    root = fill("train", "test", classes=("caf\u00e9", "cafe\u0301"))
    with pytest.raises(UserError) as error:
        load_source(data(location=str(root)))
    assert str(error.value) == (
        f"{root}/train: the classes 'cafe\\u0301' and 'caf\\xe9' look the same"
    )


@pytest.mark.parametrize("out", ["test/prepared", "train/cat/prepared", "."])
def test_nothing_is_written_among_the_images(fill, data, out):
    root = fill("train", "test")
    with pytest.raises(UserError, match="lies among the images"):
        prepare(data(location=str(root)), None, root / out)
    assert not list(root.rglob("*prepared*"))
