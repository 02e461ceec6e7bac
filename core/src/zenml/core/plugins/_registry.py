"""The registry: which plugins are installed, what they offer, and what is wrong with the others.

pluggy's own entry-point loader is not used: it imports everything, stops at the first ImportError
and drops the second of two plugins with one name. Here each entry point is imported in isolation,
and whatever goes wrong becomes a row with a cause and a remedy.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pluggy

from zenml.core._project import PluginRules, find_root, read_config, split_names
from zenml.core.contracts._backend import Backend
from zenml.core.contracts._settings import nearest
from zenml.core.errors import (
    BackendError,
    BackendNotFoundError,
    BackendUnavailableError,
    ZenMLError,
)
from zenml.core.plugins import hookspecs
from zenml.core.plugins._entry_points import EntryPoint, normalise, plugin_entry_points
from zenml.core.plugins._namespace import foreign_namespaces
from zenml.core.plugins._specs import (
    API_VERSION,
    BackendInfo,
    BackendSpec,
    FormatSpec,
    PluginInfo,
    Status,
    StoreSpec,
)
from zenml.core.sources._locate import is_importable

__all__ = [
    "Offer",
    "Registry",
    "get_registry",
    "load_backend_class",
    "load_target",
    "reset_registry",
]

Spec = BackendSpec | StoreSpec | FormatSpec

#: Hook to (kind in rows, type of spec, attribute that names it).
_HOOKS: dict[str, tuple[str, type, str]] = {
    "zenml_orchestrators": ("orchestrator", BackendSpec, "type"),
    "zenml_processors": ("processing", BackendSpec, "type"),
    "zenml_trainers": ("training", BackendSpec, "type"),
    "zenml_artifact_stores": ("store", StoreSpec, "scheme"),
    "zenml_artifact_formats": ("format", FormatSpec, "name"),
}
_BACKEND_KINDS = ("orchestrator", "processing", "training")


class Offer(NamedTuple):
    """One spec that one plugin registered, with its standing among all others."""

    kind: str
    name: str
    spec: Spec
    plugin: PluginInfo
    status: Status
    cause: str | None
    remedy: str | None


class Registry:
    """Everything that the installed plugins offer. Made once per process and rules."""

    def __init__(self, rules: PluginRules) -> None:
        self.rules = rules
        self._manager = pluggy.PluginManager("zenml")
        self._manager.add_hookspecs(hookspecs)
        self.plugins: list[PluginInfo] = []
        self.offers: list[Offer] = []
        for entry in plugin_entry_points():
            self._add(entry)
        self._settle_conflicts()
        self.plugins += [
            PluginInfo(
                name="zenml/__init__.py",
                distribution="unknown",
                version="",
                module=str(path),
                status="conflict",
                cause=f"{path} turns the namespace 'zenml' into a package of its own, "
                "which hides every plugin that is installed elsewhere",
                remedy="remove that file (pip uninstall zenml, if it belongs to the old "
                "distribution), or take its folder off sys.path",
            )
            for path in foreign_namespaces()
        ]

    # -- reading ---------------------------------------------------------------------------------

    def _add(self, entry: EntryPoint) -> None:
        status, cause, remedy = self._ruled_out(entry)
        specs: list[tuple[str, str, Spec]] = []
        if status == "available":
            status, cause, remedy, specs = self._load(entry)
        plugin = PluginInfo(
            name=entry.name,
            distribution=entry.distribution,
            version=entry.version,
            module=entry.module,
            status=status,
            cause=cause,
            remedy=remedy,
            offers=tuple(f"{kind}:{name}" for kind, name, _ in specs),
        )
        self.plugins.append(plugin)
        for kind, name, spec in specs:
            self.offers.append(Offer(kind, name, spec, plugin, *_standing(spec, plugin)))

    def _ruled_out(self, entry: EntryPoint) -> tuple[Status, str | None, str | None]:
        names = {normalise(entry.distribution), f"{normalise(entry.distribution)}:{entry.name}"}
        if names & set(self.rules.disable):
            where = "ZENML_DISABLE_PLUGINS or 'plugins.disable' in .zenml/config.yaml"
            return "disabled", f"disabled by {where}", f"take {entry.distribution} off that list"
        if self.rules.allow and not names & set(self.rules.allow):
            where = "ZENML_ALLOW_PLUGINS or 'plugins.allow' in .zenml/config.yaml"
            return "disabled", f"not on the list of {where}", f"add {entry.distribution} to it"
        return "available", None, None

    def _load(
        self, entry: EntryPoint
    ) -> tuple[Status, str | None, str | None, list[tuple[str, str, Spec]]]:
        label = f"{entry.distribution}:{entry.name}"
        try:
            module = importlib.import_module(entry.module)
            self._manager.register(module, name=label)
            return "available", None, None, self._collect(module, label)
        except KeyboardInterrupt:
            raise
        except ModuleNotFoundError as error:
            self._forget(label)
            missing = (error.name or "").partition(".")[0]
            return (
                "missing-dependency" if missing else "broken",
                f"importing {entry.module} failed: {error}",
                f"pip install {missing}, or pip install --force-reinstall {entry.distribution}",
                [],
            )
        except BaseException as error:  # noqa: BLE001 - a plugin may even call sys.exit()
            self._forget(label)
            reinstall = f"report it to the authors of {entry.distribution}, or"
            return (
                "broken",
                f"{_in_words(error)} ({_last_frame(error)})",
                f"{reinstall} set ZENML_DISABLE_PLUGINS={entry.distribution}",
                [],
            )

    def _forget(self, label: str) -> None:
        if self._manager.has_plugin(label):
            self._manager.unregister(name=label)

    def _collect(self, module: object, label: str) -> list[tuple[str, str, Spec]]:
        """Call the hooks of one plugin, so that what it says can be told from what others say."""
        unknown = [
            caller.name
            for caller in self._manager.get_hookcallers(module) or []
            if not caller.has_spec()
        ]
        if unknown:
            known = [name for name in dir(hookspecs) if name.startswith("zenml_")]
            hint = nearest(unknown[0], known)
            raise BackendError(
                f"it implements the unknown hook {unknown[0]}; {hint or ''}".strip("; ")
            )
        specs: list[tuple[str, str, Spec]] = []
        for hook, (kind, spec_type, attribute) in _HOOKS.items():
            for implementation in getattr(self._manager.hook, hook).get_hookimpls():
                if implementation.plugin_name != label:
                    continue
                answer = implementation.function()
                if isinstance(answer, spec_type):
                    answer = [answer]
                if answer is None:
                    continue
                if not isinstance(answer, Iterable):
                    raise BackendError(f"{hook} returned {answer!r}, not {spec_type.__name__}s")
                for spec in answer:
                    _validate_spec(hook, spec, spec_type)
                    specs.append((kind, getattr(spec, attribute), spec))
        return specs

    def _settle_conflicts(self) -> None:
        groups: dict[tuple[str, str], list[int]] = defaultdict(list)
        for index, offer in enumerate(self.offers):
            if offer.status == "available":
                groups[offer.kind, offer.name].append(index)
        for (kind, name), members in groups.items():
            if len(members) < 2:
                continue
            chosen = self.rules.choose.get(f"{kind}:{name}")
            owners = [self.offers[index].plugin.distribution for index in members]
            explicit = " or ".join(f"'{owner}:{name}'" for owner in owners)
            for index in members:
                offer = self.offers[index]
                if chosen and normalise(chosen) == normalise(offer.plugin.distribution):
                    continue
                if chosen:
                    cause = f"'plugins.choose' gives {kind}:{name} to {chosen}"
                    remedy = f"name it as '{offer.plugin.distribution}:{name}'"
                else:
                    cause = f"{' and '.join(owners)} both offer {kind} '{name}'"
                    remedy = (
                        f"name the one you mean as {explicit}, or choose one in "
                        f".zenml/config.yaml: plugins: {{choose: {{'{kind}:{name}': {owners[0]}}}}}"
                    )
                self.offers[index] = offer._replace(status="conflict", cause=cause, remedy=remedy)

    # -- asking ----------------------------------------------------------------------------------

    def backends(self, kind: str | None = None) -> list[BackendInfo]:
        """A row for every backend, and for every plugin that could not say what it offers."""
        rows = [_row(offer) for offer in self.offers if offer.kind in _BACKEND_KINDS]
        rows += [
            BackendInfo(
                kind="plugin",
                type=plugin.name,
                name=plugin.name,
                distribution=plugin.distribution,
                version=plugin.version,
                status=plugin.status,
                cause=plugin.cause,
                remedy=plugin.remedy,
            )
            for plugin in self.plugins
            if plugin.status != "available"
        ]
        # A failed plugin may have offered the kind that was asked for, so it is always shown.
        wanted = (kind, "plugin")
        return sorted(
            (row for row in rows if kind is None or row.kind in wanted),
            key=lambda row: (row.kind, row.name, row.distribution or ""),
        )

    def find(self, kind: str, name: str) -> Offer:
        """The offer of that kind named ``type`` or ``distribution:type``.

        Raises:
            BackendNotFoundError: nothing installed offers it; says what to install.
            BackendUnavailableError: it is offered and cannot be used; says why.
        """
        owner, _, bare = name.rpartition(":")
        same_kind = [offer for offer in self.offers if offer.kind == kind]
        matching = [
            offer
            for offer in same_kind
            if offer.name == bare
            and (not owner or normalise(offer.plugin.distribution) == normalise(owner))
        ]
        for offer in matching:
            if offer.status == "available" or (owner and offer.status == "conflict"):
                return offer
        if matching:
            first = matching[0]
            raise BackendUnavailableError(
                f"{kind} '{name}' cannot be used: {first.cause}",
                where=f"distribution {first.plugin.distribution} {first.plugin.version}",
                remedy=first.remedy,
            )
        raise BackendNotFoundError(
            f"no installed plugin offers {kind} '{name}'",
            remedy=self._how_to_get(kind, bare, [offer.name for offer in same_kind]),
        )

    def _how_to_get(self, kind: str, name: str, installed: list[str]) -> str:
        for row in known_offers():
            if row["kind"] == kind and row["type"] == name:
                failed = [
                    plugin
                    for plugin in self.plugins
                    if normalise(plugin.distribution) == row["distribution"]
                    and plugin.status != "available"
                ]
                if failed:
                    return f"{failed[0].distribution}: {failed[0].cause}; {failed[0].remedy}"
                return f"pip install {row['distribution']}"
        hint = nearest(name, installed)
        listed = ", ".join(sorted(set(installed))) or "none"
        return hint or f"installed: {listed}; see 'zenml backend list'"

    def find_class(self, kind: str | None, class_name: str) -> Offer | None:
        """The offer whose class (or alias) has that name; None if nothing installed has it."""
        for offer in self.offers:
            if offer.kind not in _BACKEND_KINDS or kind not in (None, offer.kind):
                continue
            if class_name in class_names(offer) and offer.status != "conflict":
                return offer
        return None

    def class_names(self, kind: str | None) -> list[str]:
        """Names of every installed backend class of a kind, aliases included, sorted."""
        return sorted(
            {
                name
                for offer in self.offers
                if offer.kind in _BACKEND_KINDS and kind in (None, offer.kind)
                for name in class_names(offer)
            }
        )

    def format_for(self, value: object) -> Offer | None:
        """The format that saves values of this type, the most derived class first."""
        for cls in type(value).__mro__[:-1]:
            name = f"{cls.__module__}:{cls.__qualname__}"
            for offer in self.offers:
                if isinstance(offer.spec, FormatSpec) and name in offer.spec.python_types:
                    return self.find("format", offer.name)
        return None

    def announce(self, hook: str, **arguments: Any) -> None:
        """Call a lifecycle hook of every plugin. A listener that fails never fails the run."""
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            wanted = {name: arguments[name] for name in implementation.argnames}
            try:
                implementation.function(**wanted)
            except Exception as error:  # noqa: BLE001 - somebody else's listener
                print(
                    f"plugin {implementation.plugin_name}: {hook} failed: {error!r}",
                    file=sys.stderr,
                )


def class_names(offer: Offer) -> tuple[str, ...]:
    """The class's own name, and its aliases."""
    assert isinstance(offer.spec, BackendSpec)
    return (offer.spec.target.rpartition(":")[2], *offer.spec.aliases)


def _row(offer: Offer) -> BackendInfo:
    assert isinstance(offer.spec, BackendSpec)
    return BackendInfo(
        kind=offer.kind,
        type=offer.name,
        name=offer.name,
        distribution=offer.plugin.distribution,
        version=offer.plugin.version,
        status=offer.status,
        cause=offer.cause,
        remedy=offer.remedy,
        capabilities=tuple(sorted(offer.spec.capabilities)),
        summary=offer.spec.summary,
        target=offer.spec.target,
    )


def _standing(spec: Spec, plugin: PluginInfo) -> tuple[Status, str | None, str | None]:
    if spec.api != API_VERSION:
        newer = spec.api > API_VERSION
        return (
            "incompatible",
            f"it was written for plugin API {spec.api}; this zenml-core offers {API_VERSION}",
            "pip install --upgrade " + ("zenml-core" if newer else plugin.distribution),
        )
    missing = [name for name in getattr(spec, "requires", ()) if not is_importable(name)]
    if missing:
        cause = f"it needs {', '.join(missing)}: not installed"
        return "missing-dependency", cause, f"pip install --force-reinstall {plugin.distribution}"
    return "available", None, None


def _validate_spec(hook: str, spec: object, spec_type: type) -> None:
    if not isinstance(spec, spec_type):
        raise BackendError(f"{hook} yielded {spec!r}, which is not a {spec_type.__name__}")
    try:
        # A Struct's constructor does not check types; a round trip does.
        checked: Any = msgspec.convert(msgspec.to_builtins(spec), spec_type)
    except (msgspec.ValidationError, TypeError) as error:
        raise BackendError(f"{hook} yielded an invalid {spec_type.__name__}: {error}") from error
    module, _, name = checked.target.partition(":")
    if not module or not name.isidentifier():
        raise BackendError(f"{hook}: the target {checked.target!r} is not 'module:Class'")


def _in_words(error: BaseException) -> str:
    if isinstance(error, ZenMLError):
        return error.message
    if isinstance(error, SystemExit):
        return f"it called sys.exit({error.code!r}) while it was imported"
    return f"{type(error).__name__}: {error}"


def _last_frame(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "no traceback"


@lru_cache(maxsize=1)
def known_offers() -> list[dict[str, str]]:
    """Published backends and where they are, for the error that says what to install."""
    text = resources.files("zenml.core.plugins").joinpath("known.json").read_text("utf-8")
    rows: list[dict[str, str]] = json.loads(text)
    return rows


def load_target(offer: Offer) -> Any:
    """Import what an offer points at. Raises ``BackendUnavailableError`` with cause and remedy."""
    module_name, _, name = offer.spec.target.partition(":")
    try:
        return getattr(importlib.import_module(module_name), name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise BackendUnavailableError(
            f"{offer.kind} '{offer.name}' cannot be imported: {_in_words(error)}",
            where=f"{offer.spec.target} in {offer.plugin.distribution} {offer.plugin.version}",
            remedy="run 'zenml doctor', or pip install --force-reinstall "
            f"{offer.plugin.distribution}",
        ) from error


def load_backend_class(info: BackendInfo) -> type[Any]:
    """Import the class behind a row of ``get_backends()``."""
    if not info.usable or info.distribution is None:
        raise BackendUnavailableError(
            f"{info.kind} '{info.name}' cannot be used: {info.cause}", remedy=info.remedy
        )
    offer = get_registry().find(info.kind, f"{info.distribution}:{info.type}")
    loaded = load_target(offer)
    if not (isinstance(loaded, type) and issubclass(loaded, Backend) and loaded.kind == info.kind):
        raise BackendUnavailableError(
            f"{info.kind} '{info.name}' is {loaded!r}, which is not a {info.kind} backend",
            where=offer.spec.target,
            remedy=f"report it to the authors of {info.distribution}",
        )
    return loaded


_registries: dict[bytes, Registry] = {}


def get_registry(root: Path | None = None) -> Registry:
    """The registry under the rules of the environment and of the repository around ``root``.

    It is read once per process and set of rules; ``reset_registry()`` forgets it.
    """
    rules = read_config(find_root(root)).plugins
    disable = (*rules.disable, *split_names(os.environ.get("ZENML_DISABLE_PLUGINS", "")))
    allow = (*rules.allow, *split_names(os.environ.get("ZENML_ALLOW_PLUGINS", "")))
    rules = PluginRules(
        disable=tuple(sorted({_rule(name) for name in disable})),
        allow=tuple(sorted({_rule(name) for name in allow})),
        choose=rules.choose,
    )
    key = msgspec.json.encode(rules, order="sorted")
    if key not in _registries:
        _registries[key] = Registry(rules)
    return _registries[key]


def _rule(name: str) -> str:
    distribution, colon, entry = name.partition(":")
    return normalise(distribution) + colon + entry


def reset_registry() -> None:
    """Forget what is installed; the next question reads the entry points again."""
    _registries.clear()
    importlib.invalidate_caches()
