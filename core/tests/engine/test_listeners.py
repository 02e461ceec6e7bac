"""Plugins that listen to runs: what they are told, and that they can do no harm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zenml.core.errors import StepFailedError
from zenml.core.testing import fake_distribution, importing_from
from zenml.pipelines import step


@step
def one() -> int:
    return 1


@step
def fail(value: int) -> int:
    raise ValueError("on purpose")


@pytest.fixture
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("site-packages")
    fake_distribution(
        folder,
        "acme-listener",
        entry_points={"listener": "acme_listener"},
        modules={
            "acme_listener": """
                from zenml.core.plugins import hookimpl

                heard = []

                @hookimpl
                def zenml_run_started(run_id, pipeline, plan_digest, store_url):
                    heard.append(("started", pipeline))

                @hookimpl
                def zenml_step_finished(step, status):
                    heard.append((step, status))

                @hookimpl
                def zenml_run_finished(status, error):
                    heard.append((status, error))
            """
        },
    )
    fake_distribution(
        folder,
        "acme-broken",
        entry_points={"broken": "acme_broken"},
        modules={
            "acme_broken": """
                from zenml.core.plugins import hookimpl

                @hookimpl
                def zenml_run_started():
                    raise RuntimeError("cannot hear the start")

                @hookimpl
                def zenml_step_finished(step):
                    raise OSError(step)

                @hookimpl
                def zenml_run_finished():
                    raise SystemExit("cannot hear the end")
            """
        },
    )
    with importing_from(folder):
        yield folder


def test_listeners_hear_of_everything_and_a_broken_one_changes_nothing(
    installed: Path, new_pipeline: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = new_pipeline("listened to")
    pipeline.add_step(one())

    run = pipeline.run()
    pipeline.run()

    from acme_listener import heard  # type: ignore[import-not-found]

    assert run.status == "succeeded"
    assert heard == [
        ("started", "listened to"),
        ("one", "succeeded"),
        ("succeeded", None),
        ("started", "listened to"),
        ("one", "cached"),
        ("succeeded", None),
    ]
    said = capsys.readouterr().err
    for hook in ("zenml_run_started", "zenml_step_finished", "zenml_run_finished"):
        assert f"{hook} failed" in said


def test_listeners_hear_why_a_run_failed(installed: Path, new_pipeline: Any) -> None:
    pipeline = new_pipeline()
    pipeline.add_step(one())
    pipeline.add_step(fail(), inputs={"value": "one"})

    with pytest.raises(StepFailedError):
        pipeline.run()

    from acme_listener import heard

    assert heard[-2:] == [("fail", "failed"), ("failed", "on purpose")]
