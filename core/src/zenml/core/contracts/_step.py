"""Steps: one declared unit of logic each. A step never knows where it runs."""

from __future__ import annotations

import copy
import inspect
import logging
import typing
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Protocol, overload

from zenml.core._canonical import check_plain
from zenml.core.contracts._artifact import Files
from zenml.core.contracts._backend import Backend, BackendKind
from zenml.core.contracts._settings import Settings, convert, nearest, plain
from zenml.core.contracts._units import UnitFunction
from zenml.core.errors import ConfigurationError, Problem

if typing.TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FunctionStep", "Step", "StepContext", "StepFunction", "step"]


class StepContext(Protocol):
    """What the engine offers a running step that annotates a parameter with this type."""

    @property
    def step(self) -> str:
        """The step's name in the pipeline."""

    @property
    def run_id(self) -> str:
        """The run's id. For messages only: results must not depend on it."""

    @property
    def files(self) -> Files:
        """Reads and writes the bytes behind artifacts."""

    @property
    def log(self) -> logging.Logger:
        """Logs into the run's record."""

    def map(
        self, function: UnitFunction, payloads: Iterable[Any], *, imports: Iterable[str] = ()
    ) -> list[Any]:
        """Execute ``function`` over payloads on the step's processing backend.

        Args:
            function: A module-level ``(payload, files) -> result``.
            payloads: Plain data, one per unit.
            imports: Names of modules that units import and the step's own code does not show, such
                as the library of a model that it was given. Workers elsewhere have to have them.

        Returns:
            The results in the order of the payloads, whatever order they were made in.

        Finished units are remembered: when a step is killed and run again, only the rest is done.
        """

    def save_checkpoint(self, value: Any) -> None:
        """Leave behind how far the step has come; ``last_checkpoint`` gives it back.

        It takes the place of the one before, and is whole or not there, whenever the process dies.
        It is found by whoever does the same work (equal code, parameters and inputs), so it must
        stand for itself, and what the step makes must not depend on where checkpoints fall.

        Args:
            value: Plain data. Bytes go through ``files``, and ``[digest, size]`` refers to them;
                they are kept as long as the checkpoint is.
        """

    def last_checkpoint(self) -> Any:
        """The newest checkpoint of this work, as it reads back from JSON; None if there is none.

        One that cannot be read is None as well, with a warning in the log. All bytes that it
        refers to by ``[digest, size]`` are there and whole.
        """

    def cancelled(self) -> bool:
        """Whether the run is being cancelled; a long loop should look now and then."""


class StepSignature(NamedTuple):
    """What ``run`` takes: artifacts by name (True: required), and the context's parameter name."""

    inputs: dict[str, bool]
    context: str | None


class Step(Settings):
    """Base class of every step.

    Parameters are annotated class attributes. ``run`` takes the step's inputs by name and returns
    its output, or a dictionary of them where ``outputs`` names several::

        class Clip(Step):
            limit: float = 1.0

            def run(self, values: list[float]) -> list[float]:
                return [min(value, self.limit) for value in values]
    """

    #: What kind of backend carries the step's work: ``training`` for trainers.
    kind: ClassVar[BackendKind] = "processing"
    #: Names of what ``run`` returns.
    outputs: ClassVar[Sequence[str]] = ("output",)
    #: Parameters that cannot change the result (a path, a name); they stay out of the cache key.
    unkeyed: ClassVar[frozenset[str]] = frozenset()

    #: Set in place, because ``step.with_backend(b)`` as a statement must not be lost.
    _backend: ClassVar[Backend | str | None] = None

    @abstractmethod
    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Do the work."""

    def fingerprint(self) -> Any:
        """Plain data that identifies what the step reads from outside; part of the cache key.

        None (the default) means that parameters and inputs say everything.
        """
        return None

    def with_backend(self, backend: Backend | str) -> Self:
        """Have this step's work carried by ``backend`` (or by the connection of that name).

        Returns the step itself. Raises ``ConfigurationError`` if the kind does not fit.
        """
        if isinstance(backend, str):
            self.__dict__["_backend"] = backend
            return self
        if not isinstance(backend, Backend):
            expected = f"expected a {self.kind} backend, found {backend!r}"
            raise ConfigurationError(
                f"{self.title} cannot use that", [Problem("backend", expected)]
            )
        if backend.kind != self.kind:
            problem = Problem(
                "backend",
                f"expected a {self.kind} backend, found {type(backend).__name__}, "
                f"which is of kind {backend.kind}",
                "pass it to pipeline.run(backend=…)"
                if backend.kind == "orchestrator"
                else f"only {backend.kind} steps take it",
            )
            raise ConfigurationError(f"{self.title} cannot use that backend", [problem])
        self.__dict__["_backend"] = backend
        return self

    @property
    def backend(self) -> Backend | str | None:
        """What ``with_backend`` was given, if anything."""
        return self._backend

    @property
    def title(self) -> str:
        """The step's name in messages."""
        return type(self).__name__

    def source_object(self) -> Any:
        """The module-level object that makes this step when called with its parameters."""
        return type(self)

    def signature(self) -> StepSignature:
        """Which inputs ``run`` takes, and whether it wants the context."""
        return _signature(type(self).run, skip=1)

    def call(self, inputs: dict[str, Any], context: StepContext) -> dict[str, Any]:
        """Run the step; returns every declared output by name."""
        wanted = self.signature().context
        result = self.run(**inputs, **({wanted: context} if wanted else {}))
        return self._name_outputs(result)

    def _name_outputs(self, result: Any) -> dict[str, Any]:
        names = tuple(self.outputs)
        if len(names) == 1:
            return {names[0]: result}
        if isinstance(result, tuple) and len(result) == len(names):
            return dict(zip(names, result, strict=True))
        if isinstance(result, dict) and set(result) == set(names):
            return {name: result[name] for name in names}
        raise TypeError(
            f"{self.title} declares the outputs {', '.join(names)}; run() must return a dictionary "
            f"or a tuple of exactly these, and returned {type(result).__name__}"
        )


@lru_cache(maxsize=1024)
def _signature(function: Callable[..., Any], skip: int) -> StepSignature:
    inputs: dict[str, bool] = {}
    context = None
    for parameter in list(inspect.signature(function).parameters.values())[skip:]:
        annotation = parameter.annotation
        text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
        if text.rpartition(".")[2] == "StepContext":
            context = parameter.name
        elif parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            inputs[parameter.name] = parameter.default is parameter.empty
    return StepSignature(inputs, context)


class FunctionStep(Step):
    """A step made from a plain function by ``@step``; its parameters are the call's arguments."""

    def __init__(self, definition: StepFunction, arguments: dict[str, Any]) -> None:
        # Not Settings.__init__: the fields are the function's own, checked against its signature.
        self._definition = definition
        self._arguments = definition.check(arguments)
        self._plain = plain(self._arguments)
        self.kind = definition.kind  # type: ignore[misc]
        self.outputs = definition.outputs  # type: ignore[misc]

    @property
    def title(self) -> str:
        return self._definition.name

    def parameters(self) -> dict[str, Any]:
        return copy.deepcopy(self._plain)

    def replace(self, **changes: Any) -> FunctionStep:
        return FunctionStep(self._definition, {**self._arguments, **changes})

    def source_object(self) -> Any:
        return self._definition

    def signature(self) -> StepSignature:
        whole = _signature(self._definition.function, skip=0)
        left = {name: need for name, need in whole.inputs.items() if name not in self._arguments}
        return StepSignature(left, whole.context)

    def run(self, **inputs: Any) -> Any:
        return self._definition.function(**inputs, **self._arguments)

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self._arguments.items())
        return f"{self.title}({given})"


class StepFunction:
    """What ``@step`` leaves in the place of a function: call it with parameters to get a step.

    The plain function stays reachable as ``.function``, for tests.
    """

    def __init__(
        self, function: Callable[..., Any], kind: BackendKind, outputs: Sequence[str]
    ) -> None:
        if isinstance(outputs, str):  # a sequence of its letters otherwise
            problem = Problem(
                "outputs", f"expected several names, found {outputs!r}", f"outputs=[{outputs!r}]"
            )
            raise ConfigurationError(f"step {function.__name__} cannot be made", [problem])
        self.function = function
        self.kind = kind
        self.outputs = tuple(outputs)
        self.name = function.__name__
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__

    def __call__(self, **parameters: Any) -> FunctionStep:
        return FunctionStep(self, parameters)

    def __deepcopy__(self, _: Any) -> Self:
        return self  # as a function is, and a class

    def check(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Validate parameters against the function's signature and annotations."""
        if not arguments:
            return {}
        known = _signature(self.function, skip=0).inputs
        hints = _hints(self.function)
        values: dict[str, Any] = {}
        problems: list[Problem] = []
        for name, value in arguments.items():
            if name not in known:
                remedy = nearest(name, known) or f"it takes: {', '.join(known) or 'nothing'}"
                problems.append(Problem(name, "no such parameter", remedy))
                continue
            try:
                values[name] = convert(value, hints.get(name, Any))
            except (TypeError, ValueError) as error:
                text = str(error).replace("`", "").replace("Expected", "expected")
                problems.append(Problem(name, f"{text}: {value!r}"))
                continue
            try:
                unfit = check_plain(plain(values[name]), name)
            except TypeError as error:
                unfit = str(error)
            if unfit:
                problems.append(
                    Problem(name, unfit, "pass plain data, or the output of another step as input")
                )
        if problems:
            raise ConfigurationError(f"step {self.name} cannot be made", problems)
        return values

    def __repr__(self) -> str:
        return f"<step {self.__module__}:{self.__qualname__}>"


@lru_cache(maxsize=1024)
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):
        # An annotation that only a type checker can resolve says nothing at run time.
        return {}


@overload
def step(function: Callable[..., Any], /) -> StepFunction: ...
@overload
def step(
    *, outputs: Sequence[str] = ..., kind: BackendKind = ...
) -> Callable[[Callable[..., Any]], StepFunction]: ...
def step(
    function: Callable[..., Any] | None = None,
    /,
    *,
    outputs: Sequence[str] = ("output",),
    kind: BackendKind = "processing",
) -> Any:
    """Make a step of a plain function.

    ::

        @step
        def increment(value: int, by: int = 1) -> int:
            return value + by

        pipeline.add_step(increment(by=2), inputs={"value": "start"})

    Arguments given in the call are parameters; the others are inputs.

    Args:
        function: The function, when used without parentheses.
        outputs: Names of what it returns; several come as a tuple or a dictionary.
        kind: ``training`` if a training backend should carry it.
    """
    if function is not None:
        return StepFunction(function, kind, outputs)
    return lambda inner: StepFunction(inner, kind, outputs)
