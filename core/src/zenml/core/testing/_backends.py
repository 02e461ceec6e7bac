"""What every backend has to do, of whichever kind: be found, take parameters, come back as data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from zenml.core._backends import offer_of
from zenml.core.contracts._backend import Backend, Check
from zenml.core.contracts._job import JobBackend
from zenml.core.errors import ConfigurationError
from zenml.core.plugins._registry import Offer, get_registry
from zenml.core.sources import reference
from zenml.core.testing._cases import Conformance, Subject, case
from zenml.core.testing._user_project import UserProject

__all__ = ["BackendConformance"]

_LISTING = """
import json, sys
from zenml.repo import Repository
rows = [row for row in Repository.get_instance().get_backends() if row.target == sys.argv[1]]
print(json.dumps([sys.argv[2] in sys.modules, [row.status for row in rows]]))
"""


class BackendConformance(Conformance):
    """Cases for backends of every kind."""

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> Backend:
        """The backend to test, able to work. Every suite overrides this."""
        return pytest.fail(f"override the fixture 'backend' of {cls.__name__}")

    @pytest.fixture(scope="class")
    @classmethod
    def project(cls, tmp_path_factory: pytest.TempPathFactory) -> Any:
        """A user's repository: the present folder, and what its code is imported from."""
        with UserProject(tmp_path_factory.mktemp("project")) as made:
            yield made

    @pytest.fixture(scope="class")
    @classmethod
    def store_url(cls, tmp_path_factory: pytest.TempPathFactory) -> str:
        """An artifact store that is empty, and that the backend's workers reach."""
        return (tmp_path_factory.mktemp("store") / "artifacts").as_uri()

    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls, backend: Backend) -> Subject:
        """What the backend's plugin says of it."""
        implied = frozenset({"job"} if isinstance(backend, JobBackend) else ())
        offer = _offer(backend)
        if offer is None:
            return Subject(cls.kind, reference(type(backend)), capabilities=implied)
        row = get_registry().row(offer)
        return Subject(
            cls.kind,
            row.type,
            row.distribution or "",
            row.version or "",
            implied.union(row.capabilities),
        )

    @case()
    def test_it_is_listed_as_available(self, backend: Backend) -> None:
        """``get_backends()`` has a row for it, without a cause for complaint."""
        offer = _offer(backend)
        assert offer is not None, (
            f"no plugin registers {type(backend).__name__}: add a BackendSpec with this target to "
            "the light module, and the entry point to pyproject.toml"
        )
        row = get_registry().row(offer)
        assert row.status == "available", f"it is listed as {row.status}: {row.cause}"
        assert row.kind == self.kind

    @case()
    def test_listing_imports_nothing_of_it(self, backend: Backend, project: UserProject) -> None:
        """Who lists backends does not pay for the libraries that they use."""
        offer = _offer(backend)
        target = offer.spec.target if offer is not None else reference(type(backend))
        home = type(backend).__module__
        done = subprocess.run(
            [sys.executable, "-c", _LISTING, target, home],
            cwd=project.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"a fresh interpreter cannot list backends: {done.stderr}"
        imported, statuses = json.loads(done.stdout.splitlines()[-1])
        assert statuses == ["available"], "a fresh interpreter does not list it"
        assert not imported, f"listing backends imported {home}: the light module must not"

    @case()
    def test_it_comes_back_from_plain_data(self, backend: Backend) -> None:
        """A plan records its parameters as JSON, and it is made of them again elsewhere."""
        parameters = json.loads(msgspec.json.encode(backend.parameters()))
        again = type(backend)(**parameters)
        for name in backend.fields():
            found = getattr(again, name)
            assert found == getattr(backend, name), f"parameter '{name}' came back as {found!r}"
        assert again == backend, "it is not equal to what it was made of"

    @case()
    def test_a_wrong_parameter_is_named(self, backend: Backend) -> None:
        """One error says which, and what it could have been."""
        with pytest.raises(ConfigurationError) as caught:
            type(backend)(**backend.parameters(), no_such_parameter=1)
        assert "no_such_parameter" in str(caught.value)

    @case()
    def test_it_cannot_be_changed(self, backend: Backend) -> None:
        """It stands in plans that were made already."""
        before = backend.parameters()
        for name in backend.fields():
            with pytest.raises(AttributeError):
                setattr(backend, name, None)
        assert backend.parameters() == before

    @case()
    def test_its_check_reports_and_does_not_raise(self, backend: Backend, tmp_path: Path) -> None:
        """Each finding says what was looked at; each bad one, what to do."""
        for found in backend.check():
            item = Check(*found)
            assert item.name, "a check has no name"
            assert item.ok, f"{item.name}: {item.detail}; the suite needs a backend that can work"


def _offer(backend: Backend) -> Offer | None:
    return offer_of(type(backend), get_registry())
