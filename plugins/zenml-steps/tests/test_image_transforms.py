"""Images as vectors: which pixels come out, in training and when a model serves."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from zenml.core.errors import ConfigurationError, DataError
from zenml.datasources import ImageDatasource
from zenml.local import OrchestratorLocalBackend, ProcessingLocalBackend
from zenml.pipelines import TrainingPipeline
from zenml.repo import Repository
from zenml.steps.evaluator import Evaluator
from zenml.steps.preprocesser import StandardPreprocesser, apply
from zenml.steps.split import RandomSplit
from zenml.steps.trainer import SKLearnTrainer

Image = pytest.importorskip("PIL.Image")

Save = Callable[..., str]


def method(name: str, **parameters: Any) -> dict[str, Any]:
    return {"method": name, "parameters": parameters}


def encoded(pixels: Any, mode: str | None = None, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.array(pixels, "u1"))
    (image if mode is None else image.convert(mode)).save(buffer, kind, **options)
    return buffer.getvalue()


def vectors(images: list[Any], *chain: dict[str, Any]) -> list[list[float]]:
    """What a chain makes of images, as when a model serves."""
    steps = [{"method": step["method"], **step["parameters"]} for step in chain]
    steps = [{"height": None, "width": None, "channels": 3, **step} for step in steps]
    column = {"column": "image", "role": "feature", "type": "binary", "output": "image_xf"}
    transform = {"columns": [{**column, "filling": None, "steps": steps}]}
    made = apply(transform, pl.DataFrame({"image": pl.Series(images, dtype=pl.Binary)}))
    assert made.schema["image_xf"].inner == pl.Float32
    found: list[list[float]] = made["image_xf"].to_list()
    return found


COLOURS = [[[1, 2, 3], [250, 0, 9]], [[7, 8, 0], [0, 255, 128]], [[5, 5, 5], [6, 6, 7]]]
FLAT = [number for row in COLOURS for pixel in row for number in pixel]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_pixels_come_by_rows_and_channels_as_they_are(kind: str, options: dict[str, Any]) -> None:
    load = method("load_binary_image", height=3, width=2)
    assert vectors([encoded(COLOURS, kind=kind, **options)], load) == [FLAT]


def grey(red: int, green: int, blue: int) -> int:
    """ITU-R 601-2, rounded as Pillow's documentation says."""
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16


def test_colours_are_converted_to_the_channels_that_are_asked_for() -> None:
    data = encoded(COLOURS)
    one = method("load_binary_image", height=3, width=2, channels=1)
    assert vectors([data], one) == [[grey(*pixel) for row in COLOURS for pixel in row]]
    four = method("load_binary_image", height=3, width=2, channels=4)
    assert vectors([data], four) == [
        [number for row in COLOURS for pixel in row for number in (*pixel, 255)]
    ]
    three = method("load_binary_image", height=1, width=2)
    assert vectors([encoded([[3, 200]])], three) == [[3, 3, 3, 200, 200, 200]]


def test_transparency_is_dropped_and_palettes_are_looked_up() -> None:
    three = method("load_binary_image", height=1, width=2)
    clear = [[[10, 20, 30, 0], [40, 50, 60, 128]]]
    assert vectors([encoded(clear)], three) == [[10, 20, 30, 40, 50, 60]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([1, 0])
    for options in ({}, {"transparency": 0}, {"transparency": b"\x00\x80"}):
        assert vectors([encoded(palette, **options)], three) == [[40, 50, 60, 10, 20, 30]]
    assert vectors([encoded(palette, kind="GIF")], three) == [[40, 50, 60, 10, 20, 30]]
    assert vectors([encoded([[0, 255]], "1")], three) == [[0, 0, 0, 255, 255, 255]]


def test_of_sixteen_bits_the_upper_eight_are_taken() -> None:
    deep = Image.fromarray(np.array([[0, 255, 256, 65_535]], np.uint16))
    one = method("load_binary_image", height=1, width=4, channels=1)
    for kind in ("PNG", "TIFF"):
        assert vectors([encoded(deep, kind=kind)], one) == [[0, 0, 1, 255]]


@pytest.mark.parametrize("mode", ["I", "F", "LAB"])
def test_what_has_no_exact_colours_is_refused(mode: str) -> None:
    data = encoded(Image.new(mode, (2, 1)), kind="TIFF")
    with pytest.raises(DataError, match=f"is of mode {mode}, which has no exact conversion"):
        vectors([data], method("load_binary_image", height=1, width=2))


def test_an_image_is_upright_as_its_orientation_says() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # the first row is the right-hand side
    data = encoded([[[1, 1, 1], [2, 2, 2], [3, 3, 3]]], exif=turned)
    one = method("load_binary_image", height=3, width=1, channels=1)
    assert vectors([data], one) == [[1, 2, 3]]
    left = Image.Exif()
    left[0x0112] = 8
    assert vectors([encoded([[[1, 1, 1], [2, 2, 2], [3, 3, 3]]], exif=left)], one) == [[3, 2, 1]]


def test_the_first_of_several_frames_counts() -> None:
    first, second = (Image.new("L", (1, 1), value) for value in (7, 9))
    data = encoded(first, kind="GIF", save_all=True, append_images=[second])
    one = method("load_binary_image", height=1, width=1, channels=1)
    assert vectors([data], one) == [[7]]


def test_images_of_any_size_are_given_one() -> None:
    chain = (method("load_binary_image", channels=1), method("image_reshape", height=2, width=1))
    square = encoded([[0, 100], [40, 60]])
    wide = encoded([[10, 20, 30, 40], [10, 20, 30, 40]])
    exact = encoded([[5], [6]])
    # Halving looks at twice as many pixels: each row becomes its mean.
    assert vectors([square, wide, exact], *chain) == [[50, 50], [25, 25], [5, 6]]
    larger = (chain[0], method("image_reshape", height=1, width=4))
    assert vectors([encoded([[0, 100]])], *larger) == [[0, 25, 75, 100]]


def test_the_same_pixels_come_out_on_every_machine() -> None:
    noise = np.random.default_rng(7).integers(0, 256, (37, 53, 3), np.uint8)
    chain = (method("load_binary_image"), method("image_reshape", height=16, width=24))
    (found,) = vectors([encoded(noise)], *chain)
    digest = hashlib.sha256(bytes(map(int, found))).hexdigest()
    assert digest == "e916946c345d193be0dcdf0973591922c5b0470d684f49c1359cb65b125ca578"


@pytest.mark.parametrize("data", [b"", b"<html>", encoded(COLOURS)[:60]])
def test_bytes_that_are_no_image_are_refused_with_their_place(data: bytes) -> None:
    load = method("load_binary_image", height=3, width=2)
    with pytest.raises(DataError, match="the image cannot be read") as caught:
        vectors([encoded(COLOURS), data], load)
    assert caught.value.where == "column 'image', row 2"
    with pytest.raises(DataError, match="the image is missing"):
        vectors([None], load)


def test_an_image_of_another_size_is_refused_unless_it_is_resized() -> None:
    with pytest.raises(DataError) as caught:
        vectors([encoded(COLOURS)], method("load_binary_image", height=2, width=3))
    assert caught.value.message == (
        "the image is 3 pixels high and 2 wide, and load_binary_image expects 2 and 3"
    )
    assert "put image_reshape after it" in str(caught.value.remedy)


SIZE = {"height": 2, "width": 2}


@pytest.mark.parametrize(
    ("chain", "said", "remedy"),
    [
        ("load_binary_image", "gives images of any size", "put image_reshape after it"),
        ("image_reshape", "'image_reshape' requires it", None),
        (method("image_reshape", **SIZE), "takes an image, and a column holds none", "put load_"),
        (
            [method("load_binary_image", **SIZE), method("image_reshape", **SIZE)],
            "takes an image, and 'load_binary_image' gives a vector",
            "leave height and width of load_binary_image out",
        ),
        (
            ["load_binary_image", method("pca", output_dim=2)],
            "'pca' takes a vector, and 'load_binary_image' gives an image",
            None,
        ),
        (["no_transform", "load_binary_image"], "takes bytes, and 'no_transform' gives", None),
        (method("load_binary_image", height=2), "expected both height and width", None),
        (
            method("load_binary_image", **SIZE, channels=2),
            "expected 1, 3 or 4, found 2",
            "1 is grey",
        ),
        (method("load_binary_image", height=0, width=1), "expected at least 1", None),
        (
            [method("load_binary_image", height=9, width=10), method("pca", output_dim=2)],
            "takes vectors of at most 256, and 'load_binary_image' gives 270",
            None,
        ),
        (
            [
                method("load_binary_image", channels=1),
                method("image_reshape", **SIZE),
                method("pca", output_dim=5),
            ],
            "expected at most 4, found 5",
            None,
        ),
    ],
)
def test_a_chain_that_makes_no_sense_is_refused_where_it_is_written(
    chain: Any, said: str, remedy: str | None
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        StandardPreprocesser(features=["image"], overwrite={"image": {"transform": chain}})
    (problem,) = caught.value.problems[:1]
    assert said in problem.message
    assert remedy is None or remedy in str(problem.remedy)


# -- in a pipeline ---------------------------------------------------------------------------------


def folder(root: Path) -> str:
    """Bright and dark images of different sizes and formats."""
    for number in range(60):
        kind = "bright" if number % 3 else "dark"
        random = np.random.default_rng(number)
        low = 128 if kind == "bright" else 0
        pixels = random.integers(low, low + 128, (8 + number % 5, 9 + number % 7, 3), np.uint8)
        suffix = ("png", "jpg", "webp")[number % 3 - 2]
        file = root / kind / f"{number}.{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    return str(root)


def pipeline_of(path: str, *more: dict[str, Any], enable_cache: bool = True) -> TrainingPipeline:
    pipeline = TrainingPipeline(name="brightness", enable_cache=enable_cache)
    pipeline.add_datasource(ImageDatasource(name="images", base_path=path, rows_per_shard=16))
    pipeline.add_split(RandomSplit(split_map={"train": 0.7, "test": 0.3}))
    chain = [method("load_binary_image"), method("image_reshape", height=4, width=4), *more]
    pipeline.add_preprocesser(
        StandardPreprocesser(
            features=["image"], labels=["label"], overwrite={"image": {"transform": chain}}
        )
    )
    tree = SKLearnTrainer(estimator="sklearn.tree:DecisionTreeClassifier")
    pipeline.add_trainer(tree)
    pipeline.add_evaluator(Evaluator(slices=["label"]))
    return pipeline


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    return Repository.init_repo()


def test_a_model_of_images_takes_bytes(repo: Repository, tmp_path: Path) -> None:
    path = folder(tmp_path / "images")
    run = pipeline_of(path).run()
    examples = run.load("preprocesser.examples")
    assert examples.schema["image_xf"] == "float32[48]"
    assert run.load("evaluator.evaluation")["overall"]["accuracy"] == 1.0
    model = run.load("trainer.model")
    bright, dark = encoded(np.full((20, 30), 250)), encoded(np.full((5, 3, 4), 3), kind="WEBP")
    assert model.predict([{"image": bright}, {"image": dark}]) == ["bright", "dark"]
    assert model.predict(pl.DataFrame({"image": [dark]})) == ["dark"]
    with pytest.raises(
        DataError, match=r"'image' is of type binary in training, and 'a\.png' is none"
    ):
        model.predict([{"image": "a.png"}])
    with pytest.raises(DataError, match="the image is missing"):
        model.predict([{"image": None}])
    with pytest.raises(DataError, match="is none of BMP") as caught:
        model.predict([{"image": dark}, {"image": b"GIF"}])
    assert caught.value.where == "column 'image', row 2"


def test_pandas_rows_hold_bytes_too(repo: Repository, tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    model = pipeline_of(folder(tmp_path / "images")).run().load("trainer.model")
    bright = encoded(np.full((20, 30), 250))
    assert model.predict(pd.DataFrame({"image": [bright]})) == ["bright"]


@pytest.mark.parametrize("more", [(), (method("pca", output_dim=3),)])
def test_worker_processes_give_the_same_vectors(
    repo: Repository, tmp_path: Path, more: tuple[dict[str, Any], ...]
) -> None:
    path = folder(tmp_path / "images")
    run = pipeline_of(path, *more).run()
    again = pipeline_of(path, *more, enable_cache=False)
    processes = ProcessingLocalBackend(mode="processes", workers=2)
    other = again.run(backends=[OrchestratorLocalBackend(), processes])
    for step in ("data", "preprocesser"):
        assert other.steps[step].status == "succeeded"
        assert other.steps[step].outputs == run.steps[step].outputs


def test_an_image_is_the_same_vector_whatever_stands_beside_it(bench: Any, tmp_path: Path) -> None:
    source = ImageDatasource(name="images", base_path=folder(tmp_path / "images"))
    examples = bench.run(source)["examples"]
    images = pl.concat(examples.scan(bench.files))["image"].to_list()
    chain = (method("load_binary_image"), method("image_reshape", height=4, width=4))
    together = vectors(images, *chain)
    assert [vectors([image], *chain)[0] for image in images[::7]] == together[::7]


def test_a_column_of_images_has_no_default_transform(bench: Any, tmp_path: Path) -> None:
    source = ImageDatasource(name="images", base_path=folder(tmp_path / "images"))
    examples = bench.run(source)["examples"]
    examples = bench.run(RandomSplit(split_map={"train": 0.5, "eval": 0.5}), examples=examples)

    def refusal(**parameters: Any) -> Any:
        with pytest.raises(ConfigurationError) as caught:
            bench.run(StandardPreprocesser(labels=["label"], **parameters), examples=examples)
        (problem,) = caught.value.problems
        return problem

    problem = refusal()
    assert problem.path == "overwrite.image.transform"
    assert problem.message == "'image' is of type binary, which has no default transform"
    problem = refusal(features=["image"], overwrite={"image": {"transform": "no_transform"}})
    assert problem.remedy == "put load_binary_image before it"
    load = method("load_binary_image", height=2, width=2)
    for filling in ("max", method("custom", custom_value="x")):
        overwrite = {"image": {"transform": load, "filling": filling}}
        problem = refusal(features=["image"], overwrite=overwrite)
        assert problem.path == "overwrite.image.filling"
    problem = refusal(features=["path"], overwrite={"path": {"transform": load}})
    assert "'load_binary_image' cannot be applied to 'path'" in problem.message
