"""Class folders: train/<class>/* with val/<class>/* or test/<class>/*, for users' own images.

Where only one of val/ and test/ exists, it is the test set. Where both exist, test/ is the test set
and val/ is the validation split, taken whole, so that nothing is carved out of train/.
"""

import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.artifacts import digest_of_lines, sha256
from pipeline.data.descent import why_not
from pipeline.data.encoded import Encoded
from pipeline.data.images import has_image_suffix
from pipeline.data.sources.base import EncodedSamples, Source, check_unicode, existing_folder
from pipeline.errors import UserError


def load(location: Path) -> Source:
    """Load class folders under `location`; classes are the sorted names of the folders in train/.

    In a class folder, at any depth and through symbolic links, every file counts that has the
    suffix of one of the `FORMATS` (.jpg, .png, .webp, ...); hidden files do not count.

    Raises:
        UserError: a folder is missing, empty or too deep; a link leads nowhere, to a folder above
            it or to one whose images count already; the splits disagree on classes; or the names
            of two classes look the same.
        OSError: a folder cannot be read.
    """
    root = existing_folder(location)
    held_out = [name for name in ("val", "test") if _is_folder(root / name)]
    if not held_out:
        raise UserError(f"{root}: has neither a folder val nor test beside train")
    classes = _classes(root / "train")
    for name in held_out:
        _check_same_classes(root, name, classes, _classes(root / name))
    search = _Search(root)
    files = {name: _files(search, name, classes) for name in ("train", *held_out)}
    splits = {name: _samples(root, listed) for name, listed in files.items()}
    everything = [path for listed in files.values() for path, _ in listed]
    return Source(
        classes=classes,
        train=splits["train"],
        test=splits[held_out[-1]],
        validation=splits["val"] if len(held_out) == 2 else None,
        left_out=search.left_out,
        describe=lambda: {
            "files": len(everything),
            "sha256": digest_of_lines((path, sha256(root / path)) for path in everything),
        },
    )


def _classes(split: Path) -> tuple[str, ...]:
    if not split.is_dir():
        raise UserError(f"{split}: no such folder")
    names = (entry.name for entry in split.iterdir() if _is_folder(entry))
    classes = tuple(sorted(name for name in names if not name.startswith(".")))
    if not classes:
        raise UserError(f"{split}: has no class folder")
    look: dict[str, str] = {}
    for name in classes:
        other = look.setdefault(unicodedata.normalize("NFC", name), name)
        if other != name:
            raise UserError(f"{split}: the classes {other!a} and {name!a} look the same")
    return classes


def _check_same_classes(
    root: Path, name: str, train: tuple[str, ...], other: tuple[str, ...]
) -> None:
    only_train, only_other = sorted({*train} - {*other}), sorted({*other} - {*train})
    if only_train:
        raise UserError(f"{root / name}: lacks the class {', '.join(only_train)} of train")
    if only_other:
        raise UserError(f"{root / name}: has the class {', '.join(only_other)}, which train lacks")


def _files(search: "_Search", split: str, classes: tuple[str, ...]) -> list[tuple[str, int]]:
    """Paths relative to the root of the search, and labels."""
    root = search.root
    search.leave_out(path for path in (root / split).iterdir() if path.is_file())
    files = []
    for label, name in enumerate(classes):
        of_class = sorted(search.images(root / split / name))
        if not of_class:
            raise UserError(f"{root / split / name}: holds no image")
        files += [(path.relative_to(root).as_posix(), label) for path in of_class]
    for name, _ in files:
        check_unicode(root, name)
    return files


class _Search:
    """A search of the class folders below `root`.

    Attributes:
        left_out: files that are not hidden and have no suffix of an image or lie in no class.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left_out: list[str] = []
        self._searched: dict[Path, Path] = {}

    def images(self, folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
        """The images, but hidden ones, below a folder that was reached through those `above`."""
        target = folder.resolve()
        if problem := why_not(target, above):
            raise UserError(f"{folder}: {problem}")
        before = self._searched.setdefault(target, folder)
        if before != folder:
            raise UserError(f"{folder}: is {before} once more, through a symbolic link")
        others = []
        for path in folder.iterdir():
            is_image = has_image_suffix(path.name) and not path.name.startswith(".")
            if is_image and not path.is_dir():
                yield path
            elif _is_folder(path):
                yield from self.images(path, (*above, target))
            else:
                others.append(path)
        self.leave_out(others)

    def leave_out(self, paths: Iterable[Path]) -> None:
        """Remember files that are no images of a class, unless they are hidden."""
        shown = sorted(path for path in paths if not path.name.startswith("."))
        self.left_out += [path.relative_to(self.root).as_posix() for path in shown]


def _is_folder(path: Path) -> bool:
    """Whether `path` is a folder, or a symbolic link to one."""
    if path.is_dir():
        return True
    if path.is_symlink() and not path.exists() and not path.name.startswith("."):
        raise UserError(f"{path}: is a symbolic link that leads nowhere")
    return False


def _samples(root: Path, files: list[tuple[str, int]]) -> EncodedSamples:
    paths, labels = zip(*files, strict=True)
    nowhere = np.full(len(files), -1)
    encoded = Encoded(root, pa.array(paths, pa.string()), nowhere, nowhere)
    return EncodedSamples(encoded, np.array(labels))
