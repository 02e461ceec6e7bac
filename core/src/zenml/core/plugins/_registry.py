"""The registry: which plugins are installed, what they offer, and what is wrong with the others.

pluggy's own entry-point loader is not used: it imports everything, stops at the first ImportError
and drops the second of two plugins with one name. Here each entry point is imported in isolation,
and whatever goes wrong becomes a row with a cause and a remedy.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import sys
import threading
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from types import ModuleType
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
    "ALLOW",
    "DISABLE",
    "Offer",
    "Registry",
    "get_registry",
    "in_words",
    "known_offers",
    "load_backend_class",
    "load_target",
    "reset_registry",
]

#: Environment variables that name distributions, or ``distribution:entry point``.
DISABLE = "ZENML_DISABLE_PLUGINS"
ALLOW = "ZENML_ALLOW_PLUGINS"

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

#: What a kind's names look like: 'distribution:type' must stay readable, and a row be one line.
_NAMES = {
    "store": re.compile(r"[a-z][a-z0-9+.-]*"),
    "format": re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+/-]*"),
    **dict.fromkeys(_BACKEND_KINDS, re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")),
}


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
        self._modules: dict[str, str] = {}
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
            where = f"{DISABLE} or 'plugins.disable' in .zenml/config.yaml"
            return "disabled", f"disabled by {where}", f"take {entry.distribution} off that list"
        if self.rules.allow and not names & set(self.rules.allow):
            where = f"{ALLOW} or 'plugins.allow' in .zenml/config.yaml"
            return "disabled", f"not on the list of {where}", f"add {entry.distribution} to it"
        return "available", None, None

    def _load(
        self, entry: EntryPoint
    ) -> tuple[Status, str | None, str | None, list[tuple[str, str, Spec]]]:
        label = f"{entry.distribution}:{entry.name}"
        owner = entry.distribution
        try:
            # Standard output belongs to the command that lists plugins, and may be JSON.
            with contextlib.redirect_stdout(sys.stderr):
                if not _is_dotted(entry.module):
                    raise BackendError(f"its entry point names {entry.module!r}, not a module")
                module = importlib.import_module(entry.module)
                hooks = self._register(module, label)
                return "available", None, None, self._collect(hooks)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a plugin may even call sys.exit()
            self._forget(label)
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            if missing and f"{entry.module}.".startswith(f"{missing}."):
                cause = f"its entry point names {entry.module}, and there is no {missing}"
                return "broken", cause, f"pip install --force-reinstall {owner}", []
            if missing:
                # The name of a module is not the name under which it could be installed.
                cause = f"importing {entry.module} failed: {in_words(error)}"
                remedy = (
                    f"pip install --force-reinstall {owner} should bring {missing} along; "
                    f"if it does not, report it to the authors of {owner}"
                )
                return "missing-dependency", cause, remedy, []
            return (
                "broken",
                f"{in_words(error)} ({_last_frame(error)})",
                f"report it to the authors of {owner}, or set {DISABLE}={owner}",
                [],
            )

    def _register(self, module: ModuleType, label: str) -> dict[str, Callable[..., Any]]:
        """Take in a module's implementations; those that return specs, by hook.

        Only listeners are pluggy's business: it looks at every plugin again for each one that it
        registers, and nearly all plugins have nothing but specs to give.
        """
        if self._modules.setdefault(module.__name__, label) != label:
            raise BackendError("another entry point names the same module")
        found: dict[str, Callable[..., Any]] = {}
        for name in dir(module):
            options = self._manager.parse_hookimpl_opts(module, name)
            if options is not None:
                found[options.get("specname") or name] = getattr(module, name)
        known = [name for name in dir(hookspecs) if name.startswith("zenml_")]
        for hook in found:
            if hook not in known:
                hint = nearest(hook, known)
                raise BackendError(
                    f"it implements the unknown hook {hook}; {hint or ''}".strip("; ")
                )
        if found.keys() - _HOOKS.keys():
            self._manager.register(module, name=label)
        return {hook: found[hook] for hook in _HOOKS if hook in found}

    def _forget(self, label: str) -> None:
        if self._manager.has_plugin(label):
            self._manager.unregister(name=label)

    def _collect(self, hooks: Mapping[str, Callable[..., Any]]) -> list[tuple[str, str, Spec]]:
        """Call the hooks of one plugin, so that what it says can be told from what others say."""
        specs: list[tuple[str, str, Spec]] = []
        for hook, implementation in hooks.items():
            kind, spec_type, attribute = _HOOKS[hook]
            answer = implementation()
            if isinstance(answer, spec_type):
                answer = [answer]
            if answer is None:
                continue
            if not isinstance(answer, Iterable):
                raise BackendError(f"{hook} returned {_article(answer)}, not {spec_type.__name__}s")
            for spec in answer:
                _validate_spec(hook, spec, spec_type)
                name = getattr(spec, attribute)
                if not _NAMES[kind].fullmatch(name):
                    raise BackendError(f"{hook}: {name!r} cannot be the name of a {kind}")
                if any(name == known and kind == of for of, known, _ in specs):
                    raise BackendError(f"it offers {kind} '{name}' twice")
                specs.append((kind, name, spec))
        return specs

    def _settle_conflicts(self) -> None:
        groups: dict[tuple[str, str], list[int]] = defaultdict(list)
        for index, offer in enumerate(self.offers):
            if offer.status == "available":
                groups[offer.kind, offer.name].append(index)
        for (kind, name), members in groups.items():
            chosen = self.rules.choose.get(f"{kind}:{name}")
            owners = [self.offers[index].plugin.distribution for index in members]
            if len(members) > 1 or chosen:
                for index in members:
                    offer = self.offers[index]
                    verdict = self._conflict(offer, owners, chosen)
                    if verdict:
                        cause, remedy = verdict
                        self.offers[index] = offer._replace(
                            status="conflict", cause=cause, remedy=remedy
                        )

    @staticmethod
    def _conflict(offer: Offer, owners: list[str], chosen: str | None) -> tuple[str, str] | None:
        """Why the offer is not what its bare name means, and what to do; None if it is."""
        kind, name, owner = offer.kind, offer.name, offer.plugin.distribution
        if chosen and normalise(chosen) != normalise(owner):
            # Also where the chosen one is gone: nobody chose this one in its place.
            cause = f"'plugins.choose' gives {kind}:{name} to {chosen}"
            return cause, f"name it as '{owner}:{name}'"
        if owners.count(owner) > 1:
            entry = f"{owner}:{offer.plugin.name}"
            return (
                f"several entry points of {owner} offer {kind} '{name}'",
                f"report it to the authors of {owner}, or set {DISABLE}={entry}",
            )
        if chosen:
            return None
        explicit = " or ".join(f"'{one}:{name}'" for one in owners)
        choose = f"plugins: {{choose: {{'{kind}:{name}': {owners[0]}}}}}"
        cause = f"{' and '.join(owners)} both offer {kind} '{name}'"
        return cause, (
            f"name the one you mean as {explicit}, or choose one in .zenml/config.yaml: {choose}"
        )

    # -- asking ----------------------------------------------------------------------------------

    def backends(self, kind: str | None = None) -> list[BackendInfo]:
        """A row for every backend, and for every plugin that could not say what it offers."""
        rows = [self.row(offer) for offer in self.offers if offer.kind in _BACKEND_KINDS]
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
        matching = self.offers_of(kind, name)
        usable = [offer for offer in matching if offer.status == "available"]
        if ":" in name and not usable:
            # Naming the distribution settles a conflict, unless both sides are its own.
            usable = [offer for offer in matching if offer.status == "conflict"]
        if len(usable) == 1:
            return usable[0]
        if matching:
            first = matching[0]
            raise BackendUnavailableError(
                f"{kind} '{name}' cannot be used: {first.cause}",
                where=f"distribution {first.plugin.distribution} {first.plugin.version}",
                remedy=first.remedy,
            )
        raise BackendNotFoundError(
            f"no installed plugin offers {kind} '{name}'", remedy=self.how_to_get(kind, name)
        )

    def offers_of(self, kind: str, name: str) -> list[Offer]:
        """Every offer of that kind that ``type`` or ``distribution:type`` names, usable or not."""
        owner, _, bare = name.rpartition(":")
        return [
            offer
            for offer in self.offers
            if (offer.kind, offer.name) == (kind, bare)
            and (not owner or normalise(offer.plugin.distribution) == normalise(owner))
        ]

    def ailing(self, distribution: str) -> PluginInfo | None:
        """The first plugin of a distribution that says nothing of what it offers, if any."""
        for plugin in self.plugins:
            same = normalise(plugin.distribution) == normalise(distribution)
            if same and plugin.status != "available":
                return plugin
        return None

    def how_to_get(self, kind: str | None, name: str) -> str:
        """What to do about a backend (or store, or format) that no plugin offers."""
        owner, _, bare = name.rpartition(":")
        known = [
            row["distribution"]
            for row in known_offers()
            if row["type"] == bare and kind in (None, row["kind"])
        ]
        for distribution in [owner] if owner else known[:1]:
            plugin = self.ailing(distribution)
            if plugin is not None:
                return f"{plugin.distribution}: {plugin.cause}; {plugin.remedy}"
            if all(normalise(one.distribution) != normalise(distribution) for one in self.plugins):
                return f"pip install {distribution}"
        installed = {offer.name for offer in self.offers if kind in (None, offer.kind)}
        listed = ", ".join(sorted(installed)) or "none"
        return nearest(bare, installed) or f"installed: {listed}; see 'zenml backend list'"

    def find_class(self, kind: str | None, class_name: str) -> Offer | None:
        """The offer whose class (or alias) has that name; None if nothing installed has it.

        Where several have it and none is the only usable one, its status is ``conflict``.
        """
        found = [
            offer
            for offer in self.offers
            if offer.kind in _BACKEND_KINDS
            and kind in (None, offer.kind)
            and class_name in class_names(offer)
        ]
        usable = [offer for offer in found if offer.status == "available"]
        if len({offer.spec.target for offer in usable}) > 1:
            targets = [f"{offer.plugin.distribution} ({offer.spec.target})" for offer in usable]
            modules = [offer.spec.target.partition(":")[0] for offer in usable]
            return usable[0]._replace(
                status="conflict",
                cause=f"{' and '.join(targets)} both offer a class of that name",
                remedy=f"import the one you mean from {' or '.join(modules)}",
            )
        return next(iter(usable or found), None)

    def class_names(self, kind: str | None) -> list[str]:
        """Names under which a backend class of a kind can be had, aliases included, sorted."""
        names = {
            name
            for offer in self.offers
            if offer.kind in _BACKEND_KINDS
            and kind in (None, offer.kind)
            and offer.status == "available"
            for name in class_names(offer)
        }
        return sorted(
            name
            for name in names
            if (offer := self.find_class(kind, name)) and offer.status == "available"
        )

    @staticmethod
    def row(offer: Offer) -> BackendInfo:
        """An offered backend as a row of ``get_backends()``."""
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
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - a listener may even call sys.exit()
                print(
                    f"plugin {implementation.plugin_name}: {hook} failed: {in_words(error)}",
                    file=sys.stderr,
                )


def class_names(offer: Offer) -> tuple[str, ...]:
    """The class's own name, and its aliases."""
    assert isinstance(offer.spec, BackendSpec)
    return (offer.spec.target.rpartition(":")[2], *offer.spec.aliases)


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
        raise BackendError(f"{hook} yielded {_article(spec)}, not a {spec_type.__name__}")
    try:
        # A Struct's constructor does not check types; a round trip does.
        checked: Any = msgspec.json.decode(msgspec.json.encode(spec), type=spec_type)
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise BackendError(f"{hook} yielded an invalid {spec_type.__name__}: {error}") from error
    module, _, name = checked.target.partition(":")
    if not _is_dotted(module) or not name.isidentifier():
        raise BackendError(f"{hook}: the target {checked.target!r} is not 'module:Class'")
    for alias in getattr(checked, "aliases", ()):
        if not alias.isidentifier():
            raise BackendError(f"{hook}: the alias {alias!r} is not the name of a class")


def _article(value: object) -> str:
    """What somebody gave us, without its repr: that may be long, and another one every time."""
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def in_words(error: BaseException) -> str:
    """What a plugin raised, on one line of bearable length."""
    kind = type(error).__name__
    try:
        if isinstance(error, SystemExit):
            text = f"it called sys.exit({error.code!r}) while it was imported"
        else:
            text = str(error) if isinstance(error, ZenMLError) else f"{kind}: {error}"
    except Exception:  # noqa: BLE001 - the plugin's own error may be broken as well
        text = f"{kind}, which cannot be shown"
    text = " ".join(text.encode("utf-8", "backslashreplace").decode().split())
    return text if len(text) <= 500 else f"{text[:499]}…"


def _last_frame(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    # Python's own import machinery is not where the mistake is.
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen")
    ]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "no traceback"


@lru_cache(maxsize=1)
def known_offers() -> list[dict[str, str]]:
    """What is published and where it is, for the error that says what to install."""
    text = resources.files("zenml.core.plugins").joinpath("known.json").read_text("utf-8")
    rows: list[dict[str, str]] = json.loads(text)
    return rows


def load_target(offer: Offer) -> Any:
    """Import what an offer points at. Raises ``BackendUnavailableError`` with cause and remedy."""
    plugin = offer.plugin
    origin = f"{plugin.distribution} {plugin.version}"
    return _import(offer.spec.target, f"{offer.kind} '{offer.name}'", origin, plugin.distribution)


def load_backend_class(offer: Offer | BackendInfo) -> type[Any]:
    """Import the backend class behind an offer or a row of ``get_backends()``.

    Raises:
        BackendUnavailableError: it cannot be imported, or is no backend of that kind.
    """
    info = Registry.row(offer) if isinstance(offer, Offer) else offer
    title = f"{info.kind} '{info.name}'"
    if info.target is None or (info is offer and not info.usable):
        raise BackendUnavailableError(f"{title} cannot be used: {info.cause}", remedy=info.remedy)
    loaded = _import(info.target, title, f"{info.distribution} {info.version}", info.distribution)
    if not (isinstance(loaded, type) and issubclass(loaded, Backend) and loaded.kind == info.kind):
        raise BackendUnavailableError(
            f"{title} is {_article(loaded)}, not a class of {info.kind} backends",
            where=info.target,
            remedy=f"report it to the authors of {info.distribution}",
        )
    return loaded


def _import(target: str, title: str, origin: str, distribution: str | None) -> Any:
    module_name, _, name = target.partition(":")
    try:
        return getattr(importlib.import_module(module_name), name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise BackendUnavailableError(
            f"{title} cannot be imported: {in_words(error)}",
            where=f"{target} in {origin}",
            remedy=f"run 'zenml doctor', or pip install --force-reinstall {distribution}",
        ) from error


_registries: dict[bytes, Registry] = {}
_making = threading.RLock()
_made_now: set[bytes] = set()


def get_registry(root: Path | None = None) -> Registry:
    """The registry under the rules of the environment and of the repository around ``root``.

    It is read once per process and set of rules; ``reset_registry()`` forgets it.
    """
    rules = read_config(find_root(root)).plugins
    disable = (*rules.disable, *split_names(os.environ.get(DISABLE, "")))
    allow = (*rules.allow, *split_names(os.environ.get(ALLOW, "")))
    rules = PluginRules(
        disable=tuple(sorted({_rule(name) for name in disable})),
        allow=tuple(sorted({_rule(name) for name in allow})),
        choose=rules.choose,
    )
    key = msgspec.json.encode(rules, order="sorted")
    with _making:
        if key in _made_now:
            raise BackendError(
                "a plugin asks what is installed while it is asked what it offers",
                remedy="its hooks, and the module that holds them, must answer by themselves",
            )
        if key not in _registries:
            _made_now.add(key)
            try:
                _registries[key] = Registry(rules)
            finally:
                _made_now.discard(key)
        return _registries[key]


def _rule(name: str) -> str:
    distribution, colon, entry = name.partition(":")
    return normalise(distribution) + colon + entry


def reset_registry() -> None:
    """Forget what is installed; the next question reads the entry points again."""
    _registries.clear()
    importlib.invalidate_caches()
