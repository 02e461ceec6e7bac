"""Cases of the conformance suites, and what is expected of a subject that lacks a capability."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

try:
    import pytest
except ImportError as error:
    raise ModuleNotFoundError(
        "the conformance suites need pytest\n  what to do: pip install 'zenml-core[testing]'",
        name="pytest",
    ) from error

__all__ = ["Case", "Conformance", "Subject", "case", "case_names"]

Tier = Literal["required", "optional"]

_Test = TypeVar("_Test", bound=Callable[..., Any])


class Case(NamedTuple):
    """What a case asks for.

    Attributes:
        tier: ``required`` cases have to pass; ``optional`` ones only where ``needs`` is declared.
        needs: The capability that it is about; None if it is about none.
        otherwise: What becomes of it where the capability is not declared: ``fail`` runs it and
            expects it to fail, so that a capability that is there and not declared is found;
            ``skip`` is for what cannot be tried without.
    """

    tier: Tier
    needs: str | None
    otherwise: Literal["fail", "skip"]


class Subject(NamedTuple):
    """What a suite tests, as results and matrices name it.

    Attributes:
        kind: orchestrator, processing, training or artifact store.
        type: The registered type; a scheme for stores.
        distribution: Which distribution offers it; empty if none does.
        version: That distribution's version.
        capabilities: What it declares.
    """

    kind: str
    type: str
    distribution: str = ""
    version: str = ""
    capabilities: frozenset[str] = frozenset()


def case(
    *,
    needs: str | None = None,
    otherwise: Literal["fail", "skip"] = "fail",
    tier: Tier | None = None,
) -> Callable[[_Test], _Test]:
    """Mark a test method as a case. See ``Case``; without ``needs`` it is required."""

    def mark(test: _Test) -> _Test:
        test.conformance_case = Case(  # type: ignore[attr-defined]
            tier or ("optional" if needs else "required"), needs, otherwise
        )
        return test

    return mark


class Conformance:
    """Base of the suites: skips what cannot be tried, and expects failure where it is declared.

    A suite is used by deriving a class ``Test…`` from it and overriding fixtures, all of which are
    of class scope; nothing else is meant to be overridden.
    """

    kind: ClassVar[str]

    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls) -> Subject:
        """What is tested; the suites say how it is found."""
        return pytest.fail(f"override the fixture 'subject' of {cls.__name__}")

    @pytest.fixture(scope="class")
    @classmethod
    def capabilities(cls, subject: Subject) -> frozenset[str]:
        """What the subject can do: what it declares, unless this is overridden."""
        return subject.capabilities

    @pytest.fixture(autouse=True)
    def _expectation(
        self, request: pytest.FixtureRequest, subject: Subject, capabilities: frozenset[str]
    ) -> None:
        named = subject._asdict() | {"capabilities": sorted(capabilities)}
        request.node.user_properties.append(("conformance.subject", named))
        asked: Case | None = getattr(request.function, "conformance_case", None)
        if asked is None or asked.needs is None:
            return
        if asked.needs in capabilities:
            # A fixture that only a capability makes necessary gives None until it is overridden.
            for name in request.fixturenames:
                if name.startswith("backend_") and request.getfixturevalue(name) is None:
                    pytest.fail(f"it declares '{asked.needs}': override the fixture '{name}'")
            return
        if asked.otherwise == "skip":
            pytest.skip(f"it does not declare '{asked.needs}'")
        reason = f"it does not declare '{asked.needs}'; if it can do that, it should"
        request.node.add_marker(pytest.mark.xfail(strict=True, reason=reason))


def case_names(suite: type[Conformance]) -> list[str]:
    """The names of a suite's cases, those that it inherits first, in the order of their text."""
    found: dict[str, None] = {}
    for cls in reversed(suite.__mro__):
        for name, value in vars(cls).items():
            if hasattr(value, "conformance_case"):
                found[name] = None
    return list(found)
