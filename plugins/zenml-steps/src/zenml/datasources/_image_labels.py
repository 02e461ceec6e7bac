"""Which image has which labels: as a file in their folder says, or the folders that they are in."""

from __future__ import annotations

import json
import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from zenml.core import StepContext
from zenml.core.errors import DataError
from zenml.datasources._snapshot import check_known, check_names, quoted
from zenml.datasources._source_files import FileBelow
from zenml.datasources._types import settle
from zenml.datasources._values import first_misfit, need_of, series_of, unsupported
from zenml.datasources.csv import CSVDatasource

if TYPE_CHECKING:
    from zenml.datasources.image import ImageDatasource

__all__ = ["find_labels"]

_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp")
_JSON: Final = "labels.json"
_CSV: Final = "labels.csv"

_Labels = dict[str, list[Any]]


def find_labels(
    source: ImageDatasource, found: Sequence[FileBelow], context: StepContext
) -> tuple[pl.DataFrame, list[FileBelow]]:
    """The columns ``path`` and of labels, in the order of the paths, and the file of each row.

    Raises ``DataError`` if there are no images, or if labels and images do not fit.
    """
    files = {file.path: file for file in found}
    images = [path for path in files if path.lower().endswith(_SUFFIXES)]
    if _JSON in files and _CSV in files:
        raise DataError(
            f"there are two files of labels: {quoted([_JSON, _CSV])}",
            where=source.base_path,
            remedy="keep one of them",
        )
    if _JSON in files or _CSV in files:
        written = files.pop(_JSON if _JSON in files else _CSV)
        where = written.source.name
        labels = _of_json(written) if written.path == _JSON else _of_csv(source, where, context)
        _check_paths(labels["path"], images, files, where)
    else:
        where = source.base_path
        labels = _of_folders(images, where)
    paths = labels["path"]
    if not paths:
        raise DataError(
            "the folder holds no images",
            where=where,
            remedy=f"images are files ending in {', '.join(_SUFFIXES)}, and those that are "
            "labelled by name",
        )
    given = source.schema or {}
    check_known(given, list(labels), where, "the schema")
    others = files.keys() - set(paths)
    if others:
        context.log.warning("left out, as no images: %s", quoted(sorted(others), 3))
    order = sorted(range(len(paths)), key=lambda row: paths[row].split("/"))
    table = pl.DataFrame(
        [
            _typed(name, [values[row] for row in order], given, where)
            for name, values in labels.items()
        ]
    )
    return table, [files[path] for path in table["path"]]


def _of_folders(images: Sequence[str], where: str) -> _Labels:
    loose = [path for path in images if "/" not in path]
    if loose:
        raise DataError(
            f"images are in no folder that would be their label: {quoted(loose)}",
            where=where,
            remedy=f"put each into the folder of its class, or write {_JSON} or {_CSV}",
        )
    return {"path": list(images), "label": [path.partition("/")[0] for path in images]}


def _of_csv(source: ImageDatasource, path: str, context: StepContext) -> _Labels:
    frame = pl.concat(_read_csv(source, path, source.schema, context))
    if "path" not in frame.columns:
        raise DataError(
            "there is no column 'path', which says whose labels these are",
            where=f"{path}, line 1: {quoted(frame.columns)}",
            remedy="give every line the path of its image, below the folder of the labels",
        )
    if frame["path"].dtype != pl.String:
        names = {**(source.schema or {}), "path": "string"}
        frame = pl.concat(_read_csv(source, path, names, context))
    missing = frame["path"].is_null().arg_max()
    if missing is not None and frame["path"].null_count():
        raise DataError(
            "a row names no image",
            where=f"{path}, row {missing + 1}, column 'path'",
            remedy="write the path of its image, below the folder of the labels",
        )
    _check_columns(frame.columns, path)
    labels: _Labels = {"path": [], **frame.to_dict(as_series=False)}
    labels["path"] = [posixpath.normpath(name) for name in labels["path"]]
    return labels


def _read_csv(
    source: ImageDatasource, path: str, schema: Mapping[str, str] | None, context: StepContext
) -> Any:
    made = CSVDatasource(name=source.name, path=path, schema=dict(schema or {}))
    return made.run(context)["examples"].scan(context.files)


class _TwiceError(Exception):
    pass


def _of_json(file: FileBelow) -> _Labels:
    where = file.source.name
    remedy = 'write {"1.png": "cat"}, or {"1.png": {"label": "cat", "age": 3}}'
    with file.source.open() as stream:
        data = stream.read()
    try:
        found = json.loads(data, object_pairs_hook=_unique)
    except _TwiceError as error:
        raise DataError(f"{error} stands twice in an object", where=where, remedy=remedy) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"the file is no JSON: {error}", where=where, remedy=remedy) from error
    if type(found) is not dict:
        raise DataError("the labels are no object of paths", where=where, remedy=remedy)
    nested = sum(type(value) is dict for value in found.values())
    if nested not in (0, len(found)):
        raise DataError(
            f"{nested} of {len(found)} images have an object of labels, and the others one label",
            where=where,
            remedy=remedy,
        )
    rows = list(found.values()) if nested else [{"label": value} for value in found.values()]
    names = list(dict.fromkeys(name for row in rows for name in row))
    if "path" in names:
        raise DataError("a label is called 'path', as the image's own", where=where, remedy=remedy)
    _check_columns(names, where)
    return {
        "path": [posixpath.normpath(name) for name in found],
        **{name: [row.get(name) for row in rows] for name in names},
    }


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _TwiceError(quoted([Counter(key for key, _ in pairs).most_common(1)[0][0]]))
    return found


def _check_columns(names: Sequence[str], where: str) -> None:
    if names:
        check_names(names, where)
    if "image" in names:
        raise DataError(
            "a label is called 'image', as the column of the images",
            where=where,
            remedy="give it another name",
        )


def _check_paths(
    paths: Sequence[str], images: Sequence[str], files: Mapping[str, FileBelow], where: str
) -> None:
    """Raise ``DataError`` unless every image has one label, and every label an image."""
    counts = Counter(paths)
    problems = {
        "labelled, and not there": [path for path in counts if path not in files],
        "there, and not labelled": [path for path in images if path not in counts],
        "labelled twice": [path for path, count in counts.items() if count > 1],
    }
    said = [f"{what}: {quoted(names)}" for what, names in problems.items() if names]
    if said:
        raise DataError(
            f"labels and images do not fit; {'; '.join(said)}",
            where=where,
            remedy="name every image once, by its path below the folder of the labels",
        )


def _typed(name: str, values: Sequence[Any], given: Mapping[str, str], where: str) -> pl.Series:
    strange = unsupported(values)
    if strange is not None:
        raise DataError(
            f"no dataset holds labels of that type: '{name}' holds {strange.__name__}",
            where=where,
            remedy="write single values",
        )
    kind = given.get(name) or settle(need_of(values))
    try:
        return series_of(name, values, kind)
    except ValueError:
        wrong = values[first_misfit(values, kind) or 0]
        raise DataError(
            f"column '{name}' is of type {kind}, and {str(wrong)[:40]!r} is not",
            where=where,
            remedy=f"give it another type: schema={{'{name}': 'string'}}",
        ) from None
