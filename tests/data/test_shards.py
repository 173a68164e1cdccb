import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.prepared import channel_statistics
from pipeline.data.sources.registry import load_source
from pipeline.data.sources.splitting import split_source
from pipeline.errors import UserError
from tests.data.conftest import encode

SHARED_CIFAR10 = Path(os.environ.get("BDBNN_SHARED", "missing")) / "data" / "cifar10"

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


@pytest.fixture
def write(tmp_path, photo):
    """Write a shard of small PNG images with the given labels."""

    def make(name, labels, *, image="img", label="label", class_names=None, kind=None, seed=0):
        rows = [
            {"bytes": encode(photo(8, 8, seed + number)), "path": f"{number}.png"}
            for number in range(len(labels))
        ]
        columns = {image: rows, label: pa.array(labels, kind or pa.int64())}
        table = pa.table(columns)
        if class_names:
            features = {
                image: {"_type": "Image"},
                label: {"names": class_names, "_type": "ClassLabel"},
            }
            content = json.dumps({"info": {"features": features}})
            table = table.replace_schema_metadata({"huggingface": content})
        pq.write_table(table, tmp_path / name, row_group_size=3)
        return tmp_path / name

    return make


@pytest.fixture
def load(data, tmp_path):
    return lambda: load_source(data(source="shards", location=str(tmp_path)))


def test_rows_keep_their_order_across_shards_and_row_groups(write, load, photo):
    write("train-00000-of-00002.parquet", [2, 0, 1, 1], seed=10)
    write("train-00001-of-00002.parquet", [0, 2], seed=20)
    write("test-00000-of-00001.parquet", [1, 0, 2], seed=30)
    source = load()
    assert source.classes == ("0", "1", "2")
    assert source.train.labels.tolist() == [2, 0, 1, 1, 0, 2]
    assert source.test.labels.tolist() == [1, 0, 2]
    expected = [np.asarray(photo(8, 8, seed)) for seed in (10, 11, 12, 13, 20, 21)]
    images = source.train.decode(np.array([5, 0, 3]), 8)
    for image, index in zip(images, (5, 0, 3), strict=True):
        np.testing.assert_array_equal(image, expected[index].transpose(2, 0, 1))
    assert list(source.origin["files"]) == [
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
        "test-00000-of-00001.parquet",
    ]


@pytest.mark.parametrize("image", ["img", "image"])
@pytest.mark.parametrize("label", ["label", "labels", "fine_label"])
def test_columns_have_their_usual_names(write, load, image, label):
    options = {"image": image, "label": label, "class_names": ["cat", "dog"]}
    write("train-0.parquet", [0, 1], kind=pa.uint8(), **options)
    write("validation-0.parquet", [1, 0], **options)
    source = load()
    assert source.classes == ("cat", "dog")
    assert source.test.labels.tolist() == [1, 0]
    assert source.validation is None


def test_with_both_validation_is_validation(write, load):
    write("train-0.parquet", [0, 1])
    write("validation-0.parquet", [0, 1, 1])
    write("test-0.parquet", [1, 1, 0, 0])
    source = load()
    assert source.validation is not None
    assert (source.validation.labels.size, source.test.labels.size) == (3, 4)


def test_a_test_split_without_labels_does_not_count(write, load):
    write("train-0.parquet", [0, 1])
    write("validation-0.parquet", [0, 1, 1])
    write("test-0.parquet", [-1, -1])
    source = load()
    assert source.validation is None
    assert source.test.labels.tolist() == [0, 1, 1]
    assert list(source.origin["files"]) == ["train-0.parquet", "validation-0.parquet"]


def test_missing_splits_and_shards_are_named(write, load):
    path = write("train-00000-of-00002.parquet", [0, 1])
    with pytest.raises(UserError, match=r"00002.parquet: is one of 2 shards, found 1$"):
        load()
    path.rename(path.with_name("train-00000-of-00001.parquet"))
    with pytest.raises(UserError, match=r"needs train-\*.parquet and labelled test-\*"):
        load()


@pytest.mark.parametrize("kept", [0, 100, -100, -4])
def test_a_truncated_shard_is_named(write, load, kept):
    write("train-0.parquet", [0, 1])
    path = write("test-0.parquet", [0, 1])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"^\S+test-0.parquet: is not a whole Parquet file \(.+\)$"):
        load()


def test_a_damaged_page_is_named(write, load, data):
    write("test-0.parquet", [0, 1])
    path = write("train-0.parquet", [0, 0, 1, 1])
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"train-0.parquet: is not a whole Parquet file"):
        split_source(load(), data(validation=0.5))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"img": [b"x"], "label": [0]}, r"column img is binary, not a struct with bytes$"),
        ({"image": [{"path": "a"}], "label": [0]}, r"column image is struct<.*>, not a struct"),
        ({"img": [{"bytes": "x"}], "label": [0]}, r"column img is struct<bytes: string>, not a s"),
        ({"img": [{"bytes": b"x"}], "label": ["cat"]}, r"column label is string, not integers$"),
        ({"img": [{"bytes": b"x"}], "label": pa.array([None], pa.int64())}, r"1 rows have no lab"),
        ({"pixels": [0], "label": [0]}, r"has no column img or image \(found pixels, label\)$"),
        ({"img": [{"bytes": b"x"}], "y": [0]}, r"has no column label or labels or fine_label \(fo"),
        ({"img": pa.array([], IMAGE), "label": pa.array([], pa.int64())}, r"has no rows$"),
        ([("img", [{"bytes": b"x"}]), ("img", [{"bytes": b"x"}]), ("label", [0])], r"has 2 colum"),
        ([("img", [{"bytes": b"x"}]), ("label", [0]), ("label", [0])], r"has 2 columns label$"),
    ],
)  # fmt: skip
def test_a_shard_of_another_layout_is_named(write, load, tmp_path, columns, message):
    write("test-0.parquet", [0, 1])
    pairs = columns.items() if isinstance(columns, dict) else columns
    table = pa.Table.from_arrays([pa.array(each) for _, each in pairs], [name for name, _ in pairs])
    pq.write_table(table, tmp_path / "train-0.parquet")
    with pytest.raises(UserError, match=r"train-0.parquet: " + message):
        load()


@pytest.mark.parametrize(
    ("train", "test", "class_names", "message"),
    [
        ([0, 1, 2], [0, 1], ["a", "b"], r"train-0.parquet: row 2 has label 2, allowed are 0 to 1"),
        ([0, 1, -1], [0, 1], None, r"train-0.parquet: row 2 has label -1, allowed are 0 to 2"),
        ([0, 7, 1], [0, 1], None, r"train-0.parquet: row 1 has label 7, allowed are 0 to 2"),
        ([0, 1], [0, 2, 1], None, r"test-0.parquet: row 1 has label 2, allowed are 0 to 1"),
        ([0, 1], [0, 0], ["cat", "dog"], r"class dog has no image in test$"),
        ([0, 0], [0, 1], ["cat", "dog"], r"class dog has no image in train$"),
    ],
)
def test_labels_out_of_range_and_absent_classes_are_named(
    write, load, train, test, class_names, message
):
    write("train-0.parquet", train, class_names=class_names)
    write("test-0.parquet", test, class_names=class_names)
    with pytest.raises(UserError, match=message):
        load()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"\(Invalid JSON: .+\)"),
        ("[]", r"\(Input should be an object\)"),
        ('{"info": []}', r"\(info: Input should be an object\)"),
        ('{"info": {"features": {"label": []}}}', r"\(Input should be .+\)"),
        ('{"info": {"features": {"label": {"names": [1, 2]}}}}', r"\(names.0: Input .+\)"),
        ('{"info": {"features": {"label": {"names": "ab"}}}}', r"\(names: Input should be .+\)"),
        (b"\xff", r"\(Invalid JSON: .+\)"),
    ],
)  # fmt: skip
def test_metadata_of_another_layout_is_named(write, load, content, message):
    write("test-0.parquet", [0, 1])
    path = write("train-0.parquet", [0, 1])
    table = pq.read_table(path).replace_schema_metadata({"huggingface": content})
    pq.write_table(table, path)
    expected = rf"{path}: its metadata 'huggingface' is not what the package datasets writes "
    with pytest.raises(UserError, match=rf"^{expected}{message}$"):
        load()


@pytest.mark.parametrize("names", [["cat", "dog", "cat"], ["cat", "cat"]])
def test_a_class_name_given_twice_is_named(write, load, names):
    write("test-0.parquet", [0, 1])
    path = write("train-0.parquet", [0, 1], class_names=names)
    with pytest.raises(UserError, match=rf"^{path}: its metadata .* names 2 classes 'cat'$"):
        load()


def test_a_shard_whose_name_is_not_utf_8_is_named(write, load, tmp_path):
    write("train-0.parquet", [0, 1]).rename(tmp_path / os.fsdecode(b"train-\xff.parquet"))
    write("test-0.parquet", [0, 1])
    with pytest.raises(UserError, match=r"the file name 'train-\\udcff.parquet' is not UTF-8; ren"):
        load()


def test_a_shard_that_is_no_regular_file_is_named(write, load, tmp_path):
    write("test-0.parquet", [0, 1])
    os.mkfifo(tmp_path / "train-0.parquet")
    with pytest.raises(UserError, match=r"train-0.parquet: .*not a regular file"):
        load()


@pytest.mark.parametrize("content", [None, b"no image"])
def test_a_row_without_a_readable_image_is_named(load, data, tmp_path, write, content):
    write("test-0.parquet", [0, 1])
    rows = [{"bytes": content, "path": "a.png"}] * 4
    pq.write_table(
        pa.table({"img": pa.array(rows, IMAGE), "label": [0, 0, 1, 1]}),
        tmp_path / "train-0.parquet",
    )
    with pytest.raises(UserError, match=r"^\S+train-0.parquet row \d: (has no image|could not)"):
        split_source(load(), data(validation=0.5))


@pytest.mark.slow
@pytest.mark.skipif(
    not SHARED_CIFAR10.is_dir(), reason="BDBNN_SHARED names no folder that holds data/cifar10"
)
def test_cifar10_agrees_with_its_published_statistics(data):
    source = load_source(data(source="shards", location="$BDBNN_SHARED/data/cifar10"))
    assert np.bincount(source.train.labels).tolist() == [5000] * 10
    assert np.bincount(source.test.labels).tolist() == [1000] * 10
    assert source.train.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    images = source.train.decode(np.arange(50_000), 32)
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, (0.49140, 0.48216, 0.44653), atol=1e-5, rtol=0)
    np.testing.assert_allclose(std, (0.24703, 0.24348, 0.26159), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["train-1.parquet", "validation-0.parquet", "test-0.parquet"])
@pytest.mark.parametrize("names", [["dog", "cat"], ["cat", "dog", "bird"]])
def test_shards_that_disagree_on_the_classes_are_refused(write, load, name, names):
    for each in ("train-0.parquet", "train-1.parquet", "validation-0.parquet", "test-0.parquet"):
        write(each, [0, 1], class_names=names if each == name else ["cat", "dog"])
    place, (here, there) = (0, [*names[:1], "cat"]) if names[0] != "cat" else (2, ["bird", None])
    with pytest.raises(UserError) as error:
        load()
    assert str(error.value).endswith(
        f"{name}: calls class {place} {here!r}, and train-0.parquet calls it {there!r}"
    )


def test_shards_without_names_have_those_of_the_others(write, load):
    write("train-0.parquet", [0, 1])
    write("test-0.parquet", [0, 1], class_names=["cat", "dog"])
    assert load().classes == ("cat", "dog")


def test_a_class_without_a_name_is_refused(write, load):
    write("train-0.parquet", [0, 1], class_names=[" ", "dog"])
    with pytest.raises(UserError, match=r"train-0\.parquet: .* has a class without a name$"):
        load()


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ("train-1-of-00002.parquet", "has the number of train-00001-of-00002.parquet"),
        ("train-00002-of-00002.parquet", "shards of 2 are numbered 0 to 1"),
    ],
)
def test_shards_with_odd_numbers_are_refused(write, load, second, told):
    write("train-00001-of-00002.parquet", [0, 1])
    write(second, [0, 1])
    write("test-0.parquet", [0, 1])
    with pytest.raises(UserError, match=f"{second}: {told}$"):
        load()


@pytest.mark.parametrize(("column", "other"), [("label", "labels"), ("img", "image")])
def test_two_columns_that_may_be_meant_are_refused(write, load, column, other):
    path = write("train-0.parquet", [0, 1])
    table = pq.read_table(path)
    pq.write_table(table.append_column(other, table[column]), path)
    write("test-0.parquet", [0, 1])
    columns = " and ".join(sorted((column, other), key=["label", "labels", "img", "image"].index))
    with pytest.raises(UserError, match=f"train-0.parquet: has the columns {columns}, needs one$"):
        load()
