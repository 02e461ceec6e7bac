"""The pytest plugin of ``zenml.core.testing``: results of conformance suites as a file.

Outside the ``zenml`` namespace, and importing none of it, because pytest imports it in every
session of every environment that has zenml-core.
"""

from __future__ import annotations

from typing import Any

import pytest

__all__: list[str] = []

# So that a failing case shows what was compared.
pytest.register_assert_rewrite("zenml.core.testing")

#: What the kit's own suites stand in.
_KIT = "zenml.core.testing."


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer the option that names the file."""
    parser.getgroup("zenml").addoption(
        "--conformance-json",
        metavar="PATH",
        help="write the results of the conformance suites to PATH",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Record results if a file is asked for, in the one process that sees them all."""
    path = config.getoption("--conformance-json")
    if path and not hasattr(config, "workerinput"):
        # Tests may change the present folder.
        path = config.invocation_params.dir / path
        if not path.parent.is_dir():
            raise pytest.UsageError(f"--conformance-json: there is no folder {path.parent}")
        config.pluginmanager.register(_Recorder(path), "zenml-conformance")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Note on each case what it is, before anybody changes their order; reports carry it along."""
    for number, item in enumerate(items):
        asked = getattr(getattr(item, "function", None), "conformance_case", None)
        if asked is None or not isinstance(item, pytest.Function) or item.cls is None:
            continue
        kits = [c.__name__ for c in item.cls.__mro__ if f"{c.__module__}.".startswith(_KIT)]
        told = {
            "number": number,
            "node": item.nodeid.rpartition("::")[0],
            "suite": item.cls.__name__,
            "kit": kits[0] if kits else "",
            "kind": getattr(item.cls, "kind", "unknown"),
            "name": item.originalname,
            "tier": asked.tier,
            "needs": asked.needs,
        }
        item.user_properties.append(("conformance.case", told))


class _Recorder:
    def __init__(self, path: Any) -> None:
        self._path = path
        self._rows: list[dict[str, Any]] = []
        self._said = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what was said of each case; it may fail before it begins, and after its end."""
        told: dict[str, Any] = dict(report.user_properties)
        if "conformance.case" in told:
            row = {**told["conformance.case"], "subject": told.get("conformance.subject")}
            row["result"], row["reason"] = _judged(report, row["needs"])
            self._rows.append(row)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the file, whole or not at all."""
        from zenml.core.testing._results import write_results

        ended = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if not ended or session.shouldfail or session.shouldstop:
            self._said = "not written: the session was stopped before its end"
        elif not self._rows:
            self._said = "not written: no case of a conformance suite was run"
        else:
            try:
                write_results(self._path, self._rows)
            except OSError as error:
                self._said = f"not written: {error}"
        if self._said and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where the results are, or why they are nowhere."""
        said = self._said or f"written to {self._path}"
        terminalreporter.write_line(f"conformance results: {said}")


def _judged(report: pytest.TestReport, needs: str | None) -> tuple[str, str]:
    expected = getattr(report, "wasxfail", None)
    if report.outcome == "failed":
        return "failed", _reason(report)
    if expected is not None:
        # Only the kit knows what a subject may lack. A case that its author expects to fail fails.
        return ("lacking", expected) if needs else ("failed", f"expected to fail: {expected}")
    if report.outcome == "skipped":
        return "skipped", _reason(report)
    return "passed", ""


def _reason(report: pytest.TestReport) -> str:
    told: Any = report.longrepr
    if isinstance(told, tuple):
        text = told[2]
    else:
        crash = getattr(told, "reprcrash", None)
        text = crash.message if crash is not None else getattr(told, "errorstring", told)
    line = str(text or "").strip().partition("\n")[0]
    for kind in ("Skipped: ", "Failed: ", "AssertionError: "):
        line = line.removeprefix(kind)
    return line.replace("[XPASS(strict)]", "it passed:")[:200]
