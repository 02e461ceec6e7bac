"""The command ``zenml``. Commands live in modules that are imported when they are called."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from zenml.core.errors import RunCancelledError, StepFailedError, ZenMLError

__all__ = ["main"]

#: Command to (module, one line of help). Help must not import what it describes.
_COMMANDS = {
    "artifact": ("_artifacts", "List, fetch and remove artifacts."),
    "backend": ("_backends", "List, describe, connect and check backends."),
    "doctor": ("_doctor", "Import every backend in a process of its own and report."),
    "explain": ("_plans", "Say why a step of a run was cached or not."),
    "gc": ("_artifacts", "Find what nothing refers to; delete it with --yes."),
    "image": ("_images", "Build the image that remote environments run zenml in."),
    "init": ("_repo", "Make this folder a repository."),
    "plan": ("_plans", "Show what a pipeline would do: step, backend, cached or not, and why."),
    "plugin": ("_backends", "List plugins, begin one, see how they conform."),
    "repo": ("_repo", "The repository and its index."),
    "run": ("_plans", "Run a pipeline or a plan; list and show runs."),
    "version": ("_repo", "Print the version."),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"zenml.core.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read our output has seen enough; nothing more can be said to them. click
            # would call this a failure.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return 0
        return code

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(_COMMANDS.items())])


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def zenml() -> None:
    """Pipelines say what is done; backends say how and where."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; ends the process with its exit code."""
    try:
        code: Any = zenml.main(args=arguments, prog_name="zenml", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt, RunCancelledError) as error:
        print(f"cancelled{': ' + str(error) if str(error) else ''}", file=sys.stderr)
        code = 130
    except ZenMLError as error:
        _show(error)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _show(error: ZenMLError) -> None:
    trace = error.traceback_text if isinstance(error, StepFailedError) else None
    if trace:
        # The user's own frames, the innermost last: a screenful is enough to find the line.
        lines = trace.rstrip().splitlines()
        print("\n".join(lines[-20:]), file=sys.stderr)
    print(f"error: {error}", file=sys.stderr)
