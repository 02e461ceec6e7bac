"""Frozen, validated keyword settings: what backends, steps and datasources are made of."""

from __future__ import annotations

import contextlib
import copy
import difflib
import enum
import os
import re
import sys
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import msgspec

from zenml.core.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from typing_extensions import Self, dataclass_transform
else:

    def dataclass_transform(**_: object) -> Any:
        """Typing only: ``typing.dataclass_transform`` came with Python 3.11."""
        return lambda cls: cls


__all__ = ["Field", "SecretRef", "Settings", "nearest", "sounds_secret"]

#: Words in the name of a parameter whose value nobody wants to see written down.
_SECRET_WORDS = re.compile(
    r"password|passwd|secret|token(?!i[sz])|api_?key|credential", re.IGNORECASE
)
#: Endings that say that the value only tells where the secret is.
_SECRET_PLACES = ("_name", "_ref", "_path", "_file", "_url")
#: The same as Kubernetes and its like write it: ``secretName``.
_SECRET_PLACES_IN_CAMEL_CASE = ("Name", "Ref", "Path", "File", "Url")


class SecretRef(str):
    """Where a secret is, never the secret itself: ``env:NAME`` or ``file:/path``.

    A parameter of this type accepts nothing else, so a password cannot reach a plan, a record or a
    log by being typed in the wrong place. ``resolve()`` reads it, where it is used.
    """

    __slots__ = ()
    _FORM: ClassVar[re.Pattern[str]] = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:.+")

    def __new__(cls, reference: str) -> Self:
        if not cls.is_reference(reference):
            # The text may be the secret itself, so it is not repeated.
            raise ValueError("expected a reference to a secret: 'env:NAME' or 'file:PATH'")
        return super().__new__(cls, reference)

    @classmethod
    def is_reference(cls, text: str) -> bool:
        """Whether a text has the form of a reference."""
        return cls._FORM.fullmatch(text) is not None

    def resolve(self) -> str:
        """Read the secret. Raises ``ConfigurationError`` if it is not there."""
        scheme, _, name = self.partition(":")
        try:
            return (
                os.environ[name] if scheme == "env" else Path(name).read_text("utf-8").rstrip("\n")
            )
        except (KeyError, OSError) as error:
            problem = Problem(str(self), "the secret is not there", f"set {name} and try again")
            raise ConfigurationError("a secret cannot be read", [problem]) from error
        except ValueError:
            # The error that was caught shows bytes of the secret, so it is not passed on.
            problem = Problem(str(self), "the secret is not text in UTF-8")
            raise ConfigurationError("a secret cannot be read", [problem]) from None


class Field(NamedTuple):
    """One declared parameter."""

    name: str
    type: Any
    default: Any
    required: bool

    @property
    def type_name(self) -> str:
        """The type as a person writes it."""
        return self.type.__name__ if isinstance(self.type, type) else _short(str(self.type))


def _short(text: str) -> str:
    return re.sub(r"\b(?:typing|collections\.abc|builtins)\.", "", text)


def sounds_secret(name: str) -> bool:
    """Whether a parameter's name says that its value is a secret, and not where the secret is."""
    if name.lower().endswith(_SECRET_PLACES) or name.endswith(_SECRET_PLACES_IN_CAMEL_CASE):
        return False
    return bool(_SECRET_WORDS.search(name))


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """A remedy that names the valid name closest to ``name``, or None if none is close."""
    found = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.6)
    return f"did you mean '{found[0]}'?" if found else None


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Settings:
    """Base class of everything that is configured by keyword.

    Subclasses declare parameters as annotated class attributes, as a dataclass does::

        class Shell(Settings):
            command: str
            timeout: int = 60

    A wrong parameter raises ``ConfigurationError``, which names every one that is wrong, the type
    that was expected, what was found, and the nearest valid name. Names with a leading underscore
    and ``ClassVar`` are not parameters.
    """

    __zenml_fields__: ClassVar[dict[str, Field]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, hint in _annotations(cls).items():
            if name.startswith("_") or "ClassVar" in str(hint):
                continue
            for base in cls.__mro__[1:]:
                if _belongs_to(base, name):
                    # It would hide what everybody calls, and fail far from here.
                    raise TypeError(
                        f"{cls.__name__}.{name}: a parameter cannot have the name of "
                        f"{base.__name__}.{name}, which has a meaning of its own"
                    )

    def __init__(self, **parameters: Any) -> None:
        values, problems = self._read(parameters)
        if not problems:
            self.__dict__.update(values)
            problems = [self._as_problem(found) for found in self.validate()]
        if problems:
            raise ConfigurationError(f"{type(self).__name__} cannot be made", problems)

    def validate(self) -> Iterator[Problem | tuple[str, str]]:
        """Check what single types cannot say; yield a ``Problem`` or ``(parameter, message)`` each.

        Runs after every parameter has its declared type. The default finds nothing.
        """
        return iter(())

    @staticmethod
    def _as_problem(found: Problem | tuple[str, str]) -> Problem:
        return found if isinstance(found, Problem) else Problem(found[0], found[1])

    @classmethod
    def fields(cls) -> dict[str, Field]:
        """The declared parameters, in order of declaration."""
        if "__zenml_fields__" not in cls.__dict__:
            cls.__zenml_fields__ = cls._collect_fields()
        return cls.__zenml_fields__

    @classmethod
    def _collect_fields(cls) -> dict[str, Field]:
        fields: dict[str, Field] = {}
        for base in reversed(cls.__mro__):
            annotations = _annotations(base)
            if base is Settings or base is object or not annotations:
                continue
            hints = typing.get_type_hints(base, include_extras=True)
            for name in annotations:
                hint = hints[name]
                if name.startswith("_") or typing.get_origin(hint) is ClassVar or hint is ClassVar:
                    continue
                missing = name not in base.__dict__
                default = None if missing else base.__dict__[name]
                fields[name] = Field(name, hint, default, missing)
        # A subclass may give a default to an inherited parameter without annotating it again.
        for name, field in fields.items():
            if hasattr(cls, name) and not field.required:
                fields[name] = field._replace(default=getattr(cls, name))
            elif hasattr(cls, name):
                fields[name] = field._replace(default=getattr(cls, name), required=False)
        return fields

    @classmethod
    def _read(cls, parameters: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
        fields = cls.fields()
        problems = [
            Problem(name, "no such parameter", nearest(name, fields) or _known(fields))
            for name in parameters
            if name not in fields
        ]
        values: dict[str, Any] = {}
        for name, field in fields.items():
            if name in parameters:
                try:
                    values[name] = convert(parameters[name], field.type)
                except (msgspec.ValidationError, TypeError, ValueError) as error:
                    problems.append(_as_problem(error, parameters[name], field))
            elif field.required:
                problems.append(Problem(name, f"is required ({field.type_name}) and was not given"))
            else:
                values[name] = copy.deepcopy(field.default)
        return values, problems

    def parameters(self) -> dict[str, Any]:
        """Every parameter as plain data, defaults included: what a plan records."""
        return {name: plain(getattr(self, name)) for name in self.fields()}

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.fields():
            raise AttributeError(
                f"{type(self).__name__}.{name} cannot be changed; make a new one with "
                f"replace({name}=…)"
            )
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in self.fields():
            raise AttributeError(f"{type(self).__name__}.{name} cannot be removed")
        super().__delattr__(name)

    def replace(self, **changes: Any) -> Self:
        """A copy with some parameters changed, validated like a new one."""
        return type(self)(**{**{name: getattr(self, name) for name in self.fields()}, **changes})

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.parameters() == other.parameters()

    def __hash__(self) -> int:
        return hash((type(self), _hashable(self.parameters())))

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.fields())
        return f"{type(self).__name__}({given})"


def _annotations(cls: type) -> dict[str, Any]:
    """A class's own annotations, not evaluated."""
    if sys.version_info >= (3, 14):  # they are evaluated on demand there
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    found: dict[str, Any] = vars(cls).get("__annotations__", {})
    return found


def _belongs_to(base: type, name: str) -> bool:
    """Whether ``name`` is a method, a property or a class variable that ``base`` defines."""
    if not issubclass(base, Settings):
        return False
    hint = _annotations(base).get(name)
    if hint is not None:
        return "ClassVar" in str(hint)  # else it is a parameter there too
    defined = vars(base).get(name)
    return callable(defined) or isinstance(defined, (classmethod, staticmethod, property))


def _hashable(value: Any) -> Any:
    """Equal for equal plain data: 1, 1.0 and True are, and the order of keys says nothing."""
    if isinstance(value, dict):
        return frozenset((key, _hashable(item)) for key, item in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def convert(value: Any, hint: Any) -> Any:
    """Give ``value`` the declared type without guessing: ``"3"`` is not 3, 3 is 3.0."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    elif isinstance(value, (dict, list, tuple, set)):
        # What is nested is not converted where the type says Any, and must not be shared. What has
        # no copy is no plain data either, and refused as such.
        with contextlib.suppress(TypeError):
            value = copy.deepcopy(value)
    return msgspec.convert(value, hint, dec_hook=_custom)


def _custom(hint: type, value: Any) -> Any:
    if isinstance(value, hint):
        return value
    if issubclass(hint, (SecretRef, Path)) and isinstance(value, str):
        return hint(value)
    raise TypeError(f"Expected `{hint.__name__}`, got `{type(value).__name__}`")


def plain(value: Any) -> Any:
    """A parameter's value as plain data. Raises ``TypeError`` if it has no such form."""
    return msgspec.to_builtins(value, enc_hook=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError(f"a parameter of type {type(value).__name__} is not plain data")


def _known(fields: dict[str, Field]) -> str:
    return f"it has: {', '.join(fields)}" if fields else "it has no parameters"


def _as_problem(error: Exception, value: Any, field: Field) -> Problem:
    text = str(error).replace("`", "").replace("Expected", "expected").replace(" - at $", " at ")
    if _may_hold_secret(field):
        return Problem(field.name, text)
    wrong = re.match(r"Invalid enum value '?(.*?)'?(?: at .+)?$", text)
    choices = [str(choice) for choice in _choices(field.type)]
    if wrong is None or not choices:
        return Problem(field.name, f"{text}: {clip(repr(value))}")
    listed = ", ".join(map(repr, choices))
    said = f"expected one of {listed}, found {clip(repr(value))}"
    return Problem(field.name, said, nearest(wrong[1], choices))


def _choices(hint: Any) -> list[Any]:
    """The values among which a type lets one choose, wherever in it."""
    if typing.get_origin(hint) is typing.Literal:
        return list(typing.get_args(hint))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return [member.value for member in hint]
    return [choice for part in typing.get_args(hint) for choice in _choices(part)]


def _may_hold_secret(field: Field) -> bool:
    try:
        # A SecretRef may also be a part of what the parameter holds.
        parts = repr(msgspec.inspect.type_info(field.type))
    except TypeError:  # a type that cannot be a parameter's
        return True
    return sounds_secret(field.name) or SecretRef.__name__ in parts


def clip(value: Any, size: int = 60) -> str:
    """A value as a message shows it: on one line, and not longer than that."""
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= size else text[: size - 1] + "…"
