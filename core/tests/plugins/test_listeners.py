"""Lifecycle hooks: every listener is told, and none can fail the run that it listens to."""

from __future__ import annotations

from pathlib import Path

import pytest

from zenml.core.testing import fake_distribution
from zenml.repo import Repository

HEARD = """
    from zenml.core.plugins import hookimpl

    heard = []

    @hookimpl
    def zenml_run_finished({parameters}):
        heard.append([{parameters}])
    """


def listener(site: Path, name: str, source: str) -> None:
    modules = {name.replace("-", "_"): source}
    fake_distribution(site, name, entry_points={"x": name.replace("-", "_")}, modules=modules)


def finish(project: Path) -> None:
    registry = Repository(project).registry
    registry.announce("zenml_run_finished", run_id="r1", status="failed", error="no luck")


@pytest.mark.parametrize(
    ("parameters", "heard"),
    [
        ("run_id, status, error", ["r1", "failed", "no luck"]),
        ("status", ["failed"]),
        ("error, run_id", ["no luck", "r1"]),
        ("", []),
    ],
)
def test_a_listener_takes_as_many_arguments_as_it_likes(
    site: Path, project: Path, parameters: str, heard: list[str]
) -> None:
    listener(site, "acme", HEARD.format(parameters=parameters))

    finish(project)

    import acme

    assert acme.heard == [heard]


@pytest.mark.parametrize(
    "body", ["1 / 0", "raise SystemExit(1)", "import no_such_module", "raise GeneratorExit"]
)
def test_a_listener_that_fails_fails_neither_the_run_nor_the_others(
    site: Path, project: Path, capfd: pytest.CaptureFixture[str], body: str
) -> None:
    for name in ("early", "zlate"):
        listener(site, name, HEARD.format(parameters="status"))
    listener(site, "middle", HEARD.format(parameters="status").replace("heard.append", f"{body};"))

    finish(project)

    import early
    import zlate

    assert early.heard == zlate.heard == [["failed"]]
    told = capfd.readouterr().err
    assert "plugin middle:x: zenml_run_finished failed" in told
    assert "Traceback" not in told


def test_an_interrupt_during_a_listener_is_an_interrupt(site: Path, project: Path) -> None:
    source = HEARD.format(parameters="status").replace("heard.append", "raise KeyboardInterrupt;")
    listener(site, "acme", source)

    with pytest.raises(KeyboardInterrupt):
        finish(project)


def test_a_disabled_listener_hears_nothing(
    site: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener(site, "acme", HEARD.format(parameters="status"))
    monkeypatch.setenv("ZENML_DISABLE_PLUGINS", "acme")

    finish(project)

    import acme

    assert acme.heard == []
