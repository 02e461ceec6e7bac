"""Shows how the steps of a run stand, on standard error."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from zenml.core.engine._records import StepRecord
from zenml.core.plan._model import Plan

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Progress"]

_MARKS = {
    "running": "…",
    "succeeded": "done",
    "cached": "cached",
    "failed": "FAILED",
    "cancelled": "cancelled",
    "skipped": "skipped",
}
_COLOURS = {"succeeded": "green", "cached": "cyan", "failed": "bold red", "running": "yellow"}


class Progress:
    """An observer of one run: a live display on a terminal, a line per step elsewhere."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._total = len(plan.steps)
        self._ended = 0
        self._width = max(len(name) for name in plan.steps)
        self._since: dict[str, float] = {}
        self._live: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            console = Console(stderr=True)
            self._live = Live(
                console=console,
                get_renderable=self._running,
                refresh_per_second=8,
                transient=True,
                redirect_stdout=False,
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, record: StepRecord) -> None:
        if record.status == "running":
            self._since[record.step] = time.monotonic()
            return
        self._since.pop(record.step, None)
        self._ended += 1
        planned = self._plan.steps[record.step]
        count = f"[{self._ended:>{len(str(self._total))}}/{self._total}]"
        seconds = f"{record.seconds:8.2f} s" if record.status in ("succeeded", "failed") else ""
        status = f"{_MARKS[record.status]:<9}"
        name = f"{record.step:<{self._width}}"
        backend = f"{planned.kind}:{planned.backend.type}"
        if self._live is None:
            print(f"{count} {name}  {status} {backend}{seconds}", file=sys.stderr, flush=True)
            return
        from rich.text import Text

        line = Text.assemble(
            (f"{count} ", "dim"),
            f"{name}  ",
            (status, _COLOURS.get(record.status, "")),
            (f" {backend}", "dim"),
            seconds,
        )
        self._live.console.print(line)

    def _running(self) -> Any:
        from rich.text import Text

        now = time.monotonic()
        lines = [
            f"      {name}  {now - since:6.1f} s" for name, since in self._since.copy().items()
        ]
        return Text("\n".join(lines[:10]), style="yellow")
