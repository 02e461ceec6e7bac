"""What a snapshot of images holds, and which folders are refused."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from zenml.core import open_store
from zenml.core.errors import ConfigurationError, DataError
from zenml.datasources import ImageDatasource
from zenml.steps.anomalies import Anomalies
from zenml.steps.evaluator import Evaluator
from zenml.steps.formats import DatasetFormat
from zenml.steps.sequencer import StandardSequencer
from zenml.steps.split import CategoricalDomainSplit, RandomSplit, TimeSplit
from zenml.steps.statistics import SplitSchema, SplitStatistics

Image = pytest.importorskip("PIL.Image")

Make = Callable[..., str]


def encoded(
    number: int, size: tuple[int, int] = (4, 3), kind: str = "PNG", **options: Any
) -> bytes:
    """An image that is told from others by its number."""
    width, height = size
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make a folder of files, given by path; anything that is no bytes is written as JSON."""

    def make_folder(files: dict[str, Any], name: str = "images") -> str:
        root = tmp_path / name
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        for path, content in files.items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(
                content if isinstance(content, bytes) else json.dumps(content).encode()
            )
        return str(root)

    return make_folder


FLOWERS = {
    "tulip/2.jpg": encoded(2, kind="JPEG"),
    "rose/10.png": encoded(10),
    "rose/9.png": encoded(9, (8, 8)),
    "rose/wild/1.gif": encoded(1, kind="GIF"),
}


def snapshot(bench: Any, path: str, **parameters: Any) -> Any:
    return bench.run(ImageDatasource(name="images", base_path=path, **parameters))


def read(bench: Any, path: str, **parameters: Any) -> tuple[dict[str, str], list[dict[str, Any]]]:
    examples = snapshot(bench, path, **parameters)["examples"]
    return examples.schema, [
        row for frame in examples.scan(bench.files) for row in frame.to_dicts()
    ]


def refusal(bench: Any, path: str, **parameters: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        read(bench, path, **parameters)
    return caught.value


def digest(bench: Any, path: str, **parameters: Any) -> str:
    found: str = bench.store(
        snapshot(bench, path, **parameters)["examples"], DatasetFormat()
    ).digest
    return found


def test_folders_are_labels(bench: Any, make: Make) -> None:
    schema, rows = read(bench, make(FLOWERS))
    assert schema == {"path": "string", "label": "string", "image": "binary"}
    paths = ["rose/10.png", "rose/9.png", "rose/wild/1.gif", "tulip/2.jpg"]
    assert rows == [
        {"path": path, "label": path.partition("/")[0], "image": FLOWERS[path]} for path in paths
    ]


@pytest.mark.parametrize(
    "labels",
    [
        {
            "labels.json": {
                "b.png": {"kind": "cat", "age": 3},
                "sub/a.png": {"kind": None, "age": 0.5},
            }
        },
        {"labels.csv": b"kind,path,age\ncat,b.png,3\nNA,./sub/a.png,0.5\n"},
        {"labels.csv": b'"path","age","kind"\r\n"sub/a.png",0.5,\r\nb.png,3,cat\r\n'},
    ],
)
def test_a_file_of_labels_may_have_several_columns(
    bench: Any, make: Make, labels: dict[str, Any]
) -> None:
    images = {"b.png": encoded(1), "sub/a.png": encoded(2)}
    schema, rows = read(bench, make({**images, **labels}))
    kinds = {"path": "string", "kind": "string", "age": "float", "image": "binary"}
    assert schema == kinds
    assert [*schema][:: len(schema) - 1] == ["path", "image"]
    assert rows == [
        {"path": "b.png", "kind": "cat", "age": 3.0, "image": images["b.png"]},
        {"path": "sub/a.png", "kind": None, "age": 0.5, "image": images["sub/a.png"]},
    ]


def test_one_label_for_each_image_is_called_label(bench: Any, make: Make) -> None:
    files = {"1": encoded(1), "2.png": encoded(2), "labels.json": {"2.png": 0, "1": 1}}
    schema, rows = read(bench, make(files))
    assert schema == {"path": "string", "label": "integer", "image": "binary"}
    assert [(row["path"], row["label"]) for row in rows] == [("1", 1), ("2.png", 0)]
    assert read(bench, make(files), schema={"label": "boolean"})[1][0]["label"] is True
    files = {"1": encoded(1), "2": encoded(2), "labels.csv": b"path,label\n2,7\n1,8\n"}
    schema, rows = read(bench, make(files), schema={"label": "float"})
    assert [(row["path"], row["label"]) for row in rows] == [("1", 8.0), ("2", 7.0)]


def test_other_files_are_left_out_with_a_word(
    bench: Any, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    files = {**FLOWERS, "LICENSE.txt": b"all", "rose/.hidden.png": b"", ".git/1.png": b""}
    assert len(read(bench, make(files))[1]) == 4
    assert "left out, as no images: 'LICENSE.txt'" in caplog.text


def test_shards_are_bounded_by_rows_and_bytes(
    bench: Any, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zenml.datasources import _image_snapshot

    path = make({f"a/{number:02}.png": encoded(number) for number in range(20)})
    examples = snapshot(bench, path, rows_per_shard=8)["examples"]
    assert [shard.rows for shard in examples.shards] == [8, 8, 4]
    size = (Path(path) / "a" / "00.png").stat().st_size
    monkeypatch.setattr(_image_snapshot, "SHARD_BYTES", 5 * size)
    examples = snapshot(bench, path)["examples"]
    assert [shard.rows for shard in examples.shards] == [5, 5, 5, 5]
    monkeypatch.setattr(_image_snapshot, "SHARD_BYTES", size - 1)
    assert "'a/00.png' has more than 0 MiB" in refusal(bench, path).message


def test_who_looks_at_labels_need_not_fetch_images(bench: Any, make: Make) -> None:
    examples = snapshot(bench, make(FLOWERS))["examples"]
    os.unlink(bench.files.fetch(examples.shards[0].files["bytes"]))
    assert examples.frame(examples.shards[0], bench.files, columns=["label"]).height == 4


def test_an_unchanged_folder_is_the_same_commit_and_a_changed_one_is_not(
    bench: Any, another_bench: Any, make: Make
) -> None:
    first = digest(bench, make(FLOWERS))
    turned = make(dict(reversed(FLOWERS.items())), "elsewhere")
    assert digest(another_bench, turned) == first
    assert digest(bench, f"file://{turned}") == first
    assert digest(bench, make({**FLOWERS, "rose/9.png": encoded(3)})) != first
    files = {**FLOWERS, "rose/8.png": FLOWERS["rose/9.png"]}
    assert digest(bench, make({key: files[key] for key in files if key != "rose/9.png"})) != first


def test_the_version_of_a_folder_is_its_content_and_names(make: Make) -> None:
    def version(path: str) -> Any:
        return ImageDatasource(name="images", base_path=path).fingerprint()

    first = version(make(FLOWERS))
    assert version(make(FLOWERS, "elsewhere")) == first
    assert version(make({**FLOWERS, "rose/9.png": FLOWERS["rose/10.png"]})) != first
    renamed = {path.replace("9", "8"): data for path, data in FLOWERS.items()}
    assert version(make(renamed)) != first


def test_a_folder_in_a_store(bench: Any, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make({**FLOWERS, "lilac/x/y.png": encoded(3)})
    here = digest(bench, path)

    # No scheme but file:// is installed here, and that one is read as local files; so the place
    # where URLs are opened is given the store of a folder for another scheme.
    def open_bucket(url: str) -> Any:
        return open_store(path + url.removeprefix("bucket://b/images"))

    monkeypatch.setattr("zenml.core.open_store", open_bucket)
    assert digest(bench, "bucket://b/images") == here
    assert digest(bench, "bucket://b/images/") == here
    assert "not there" in refusal(bench, "bucket://b/images/none").message


def test_links_are_followed_and_never_in_circles(bench: Any, make: Make, tmp_path: Path) -> None:
    path = make({"rose/1.png": encoded(1)})
    (tmp_path / "tulips").mkdir()
    (tmp_path / "tulips" / "2.png").write_bytes(encoded(2))
    (Path(path) / "tulip").symlink_to(tmp_path / "tulips")
    (Path(path) / "rose" / "again").symlink_to(path)
    assert [row["label"] for row in read(bench, path)[1]] == ["rose", "tulip"]


# -- what is refused -------------------------------------------------------------------------------


def cut(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def test_every_file_that_is_no_image_is_named_at_once(bench: Any, make: Make) -> None:
    path = make(
        {
            "a/0.png": encoded(0),
            "a/1.png": b"",
            "a/2.jpg": b"<html>not found</html>",
            "a/3.png": cut(encoded(3, (50, 50))),
            "b/4.jpg": cut(encoded(4, (50, 50), "JPEG")),
            "b/5.webp": cut(encoded(5, (50, 50), "WEBP", lossless=True)),
            "b/6.tif": cut(encoded(6, (50, 50), "TIFF")),
            "b/7.bmp": cut(encoded(7, (50, 50), "BMP")),
        }
    )
    error = refusal(bench, path, rows_per_shard=2)
    for number in range(1, 8):
        assert f"/{number}." in error.message
    assert "0.png" not in error.message
    assert "'a/2.jpg' is none of BMP, GIF, JPEG, PNG, TIFF, WEBP" in error.message
    assert "'b/4.jpg' is damaged or cut off" in error.message
    assert error.where == path


def test_of_many_bad_files_some_are_named(bench: Any, make: Make) -> None:
    message = refusal(bench, make({f"a/{n:02}.png": b"" for n in range(30)})).message
    assert "'a/19.png' is none" in message
    assert "'a/20.png'" not in message
    assert message.endswith("and 10 more")


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(
    bench: Any, make: Make
) -> None:
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        checked = name + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    def bomb(width: int, height: int) -> bytes:
        head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return (
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
        )

    files = {"a/1.png": bomb(8_193, 8_192), "a/2.png": bomb(10_000, 10_000)}
    message = refusal(bench, make({**files, "a/3.png": bomb(60_000, 60_000)})).message
    assert "'a/1.png' has 8193 x 8192 pixels, and at most 67,108,864 are decoded" in message
    assert "'a/2.png' has" in message
    assert "'a/3.png' has" in message


def test_labels_and_images_must_fit(bench: Any, make: Make) -> None:
    images = {"a.png": encoded(1), "b.png": encoded(2), "c.png": encoded(3)}
    labels = b"path,label\na.png,1\n./a.png,2\nx.png,1\n../images/b.png,1\nc.png,0\n"
    error = refusal(bench, make({**images, "labels.csv": labels}))
    assert error.message == (
        "labels and images do not fit; labelled, and not there: 'x.png', '../images/b.png'; "
        "there, and not labelled: 'b.png'; labelled twice: 'a.png'"
    )
    assert str(error.where).endswith("/images/labels.csv")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "the folder holds no images"),
        ({"a/readme.txt": b"x"}, "the folder holds no images"),
        (
            {"a.png": b"", "b/c.png": b""},
            "images are in no folder that would be their label: 'a.png'",
        ),
        ({"labels.json": {}, "labels.csv": b""}, "there are two files of labels"),
        ({"labels.json": {}}, "the folder holds no images"),
        ({"labels.json": b"{"}, "the file is no JSON"),
        ({"labels.json": b"\xff"}, "the file is no JSON"),
        ({"labels.json": ["a.png"]}, "no object of paths"),
        ({"labels.json": b'{"a.png": 1, "a.png": 2}'}, "'a.png' stands twice"),
        ({"labels.json": {"a.png": 1, "b.png": {"label": 1}}}, "1 of 2 images have an object"),
        ({"a.png": b"", "labels.json": {"a.png": [1]}}, "'label' holds list"),
        ({"labels.json": {"a.png": {"path": 1}}}, "called 'path'"),
        ({"labels.json": {"a.png": {"image": 1}}}, "called 'image'"),
        ({"labels.json": {"a.png": {"": 1}}}, "the 1st column has no name"),
        ({"labels.csv": b"file,label\na.png,1\n"}, "there is no column 'path'"),
        ({"labels.csv": b"path,image\na.png,1\n"}, "called 'image'"),
        ({"labels.csv": b"path,label\nNA,1\n"}, "a row names no image"),
        ({"labels.csv": b"path,label\na.png\n"}, "the row has too few fields"),
    ],
)
def test_what_is_no_folder_of_images_is_refused(
    bench: Any, make: Make, files: dict[str, Any], said: str
) -> None:
    assert said in refusal(bench, make(files)).message


def test_a_folder_that_is_not_there(bench: Any, make: Make, tmp_path: Path) -> None:
    error = refusal(bench, str(tmp_path / "none"))
    assert (error.message, error.where) == ("there is no such folder", str(tmp_path / "none"))
    (tmp_path / "file").write_text("x")
    assert "there is no such folder" in refusal(bench, str(tmp_path / "file")).message


def test_a_schema_is_kept_to(bench: Any, make: Make) -> None:
    path = make(FLOWERS)
    assert "names columns that the source does not have: 'lable'" in (
        refusal(bench, path, schema={"lable": "string"}).message
    )
    error = refusal(bench, path, schema={"label": "integer"})
    assert error.message == "column 'label' is of type integer, and 'rose' is not"
    for schema in ({"image": "string"}, {"path": "integer"}, {"label": "binary"}):
        with pytest.raises(ConfigurationError):
            ImageDatasource(name="images", base_path=path, schema=schema)
    with pytest.raises(ConfigurationError, match="base_path"):
        ImageDatasource(name="images", base_path="")


def test_a_folder_that_changes_meanwhile_is_refused(
    bench: Any, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zenml.datasources import _image_snapshot

    path = make(FLOWERS)
    ordinary = _image_snapshot.why_unreadable

    def look_and_change(data: bytes) -> str | None:
        (Path(path) / "tulip" / "2.jpg").write_bytes(encoded(99, (9, 9), "JPEG"))
        return ordinary(data)

    monkeypatch.setattr(_image_snapshot, "why_unreadable", look_and_change)
    error = refusal(bench, path)
    assert "the file changed while it was read" in error.message
    assert str(error.where).endswith("tulip/2.jpg")


# -- what other steps make of a column of bytes ----------------------------------------------------


def test_statistics_say_how_many_there_are_and_how_large(bench: Any, make: Make) -> None:
    outputs = snapshot(bench, make(FLOWERS), rows_per_shard=3)
    sizes = sorted(map(len, FLOWERS.values()))
    column = {"name": "image", "type": "binary", "count": 4, "nulls": 0}
    size = {"min": sizes[0], "max": sizes[-1], "mean": sum(sizes) / 4}
    assert outputs["statistics"]["columns"][-1] == {**column, "size": size}
    described = {"name": "image", "type": "binary", "nullable": False}
    assert outputs["schema"]["columns"][-1] == described


def test_snapshots_of_images_can_be_compared(bench: Any, make: Make) -> None:
    before = snapshot(bench, make(FLOWERS))["statistics"]
    assert Anomalies().compare(before, before) == []
    more = snapshot(bench, make({**FLOWERS, "lily/1.png": encoded(3)}))["statistics"]
    assert [found["column"] for found in Anomalies().compare(more, before)] == ["path", "label"]


def test_splits_carry_images_and_never_look_at_them(bench: Any, make: Make) -> None:
    examples = snapshot(bench, make(FLOWERS))["examples"]
    split = bench.run(RandomSplit(split_map={"train": 0.5, "eval": 0.5}), examples=examples)
    assert split.shards[0].files["bytes"] == examples.shards[0].files["bytes"]
    statistics = bench.run(SplitStatistics(), examples=split)
    schema = bench.run(SplitSchema(), statistics=statistics)
    rows = split.n_rows("train")
    assert schema["columns"][-1] == {
        "name": "image",
        "type": "binary",
        "nullable": False,
        "presence": 1.0 if rows else None,
    }
    domains = {"train": ["a"], "eval": ["b"]}
    with pytest.raises(DataError, match="a categorical column is one of strings"):
        bench.run(
            CategoricalDomainSplit(categorical_column="image", split_map=domains),
            examples=examples,
        )
    with pytest.raises(DataError, match="of type binary, which is no time"):
        bench.run(TimeSplit(column="image", split_map={"a": "2020", "b": None}), examples=examples)


def test_sequences_are_made_of_the_other_columns(bench: Any, make: Make) -> None:
    images = {f"{n}.png": encoded(n) for n in range(4)}
    labels = {f"{n}.png": {"at": n * 3600, "x": n / 2} for n in range(4)}
    examples = snapshot(bench, make({**images, "labels.json": labels}))["examples"]
    sequencer = StandardSequencer(timestamp_column="at", resampling_freq="1h", sequence_length=2)
    assert not [name for name in bench.run(sequencer, examples=examples).schema if "image" in name]
    sequencer = StandardSequencer(timestamp_column="at", category_column="image")
    with pytest.raises(
        ConfigurationError, match="'image' is of type binary, of which there are no"
    ):
        bench.run(sequencer, examples=examples)


def test_images_make_no_slices(bench: Any, make: Make) -> None:
    from types import SimpleNamespace

    examples = snapshot(bench, make(FLOWERS))["examples"]
    examples = bench.run(RandomSplit(split_map={"train": 0.5, "eval": 0.5}), examples=examples)
    model = SimpleNamespace(features=["path"], label="label")
    with pytest.raises(DataError, match="column 'image' is of type binary, and makes no slices"):
        bench.run(Evaluator(slices=["image"]), model=model, examples=examples)


def test_pandas_frames_hold_bytes(bench: Any) -> None:
    pd = pytest.importorskip("pandas")
    from zenml.steps.formats import PandasFrameFormat

    frame = pd.DataFrame({"n": [1, 2], "image": [b"\x00\xff", None]})
    artifact = bench.store(frame, PandasFrameFormat())
    again = PandasFrameFormat().load(artifact, bench.files)
    assert again["image"].tolist() == [b"\x00\xff", None]


def test_frames_of_bytes_are_refused_as_before() -> None:
    from zenml.datasources import FrameDatasource

    with pytest.raises(DataError, match="column 'a' is of type Binary"):
        FrameDatasource(name="rows", frame=pl.DataFrame({"a": [b"x"]}))
