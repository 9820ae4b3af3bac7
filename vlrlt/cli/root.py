"""The command `vlrlt`: options in, results on stdout, everything else on stderr.

Exit codes: 0 done, 1 error, 2 wrong usage, 3 done but some files could not be read, 130 interrupted.
The modules beside this one hold the commands. Nothing heavy is imported before a command runs: help is immediate.
"""

import contextlib
import errno
import inspect
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from vlrlt import __version__
from vlrlt.errors import ConfigError, MissingExtraError, VlrltError
from vlrlt.formats import printable

if TYPE_CHECKING:
    from vlrlt.tokens.run_length import TokenPolicy

INTERRUPTED = 130
SOME_FAILED = 3


class Commands(TyperGroup):
    """Turns our errors into one line and an exit code."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # noqa: ANN401
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (VlrltError, OSError) as error:
            raise typer.Exit(_told(error)) from error
        except KeyboardInterrupt:
            notify("interrupted")
            raise typer.Exit(INTERRUPTED) from None

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  as Typer's
        """Parse and run; help and version are printed before any command is run."""
        try:
            return super().main(*args, **kwargs)
        except (VlrltError, OSError) as error:
            sys.exit(_told(error))


def _told(error: VlrltError | OSError) -> int:
    """The exit code for an error that is told in one line: one of ours, or the system's: a full disk, a closed pipe."""
    if isinstance(error, VlrltError):
        notify(str(error))
        return 2 if isinstance(error, ConfigError) and not isinstance(error, MissingExtraError) else 1
    if error.errno != errno.EPIPE:  # who has closed the pipe has read enough
        what = f"{error.filename}: " if error.filename else ""
        notify(f"{what}{error.strerror or error}")
    _forget_output()
    return 1


app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False)
toy_app = typer.Typer(
    no_args_is_help=True,
    help="Render toy kitchens: cooking videos with exact annotations.\n\nExample: vlrlt toy make --out toy --videos 8",
)
eval_app = typer.Typer(
    no_args_is_help=True,
    help="Score a model on a benchmark, by the official protocol.\n\nExample: vlrlt eval epic-mir --data toy",
)
data_app = typer.Typer(
    no_args_is_help=True,
    help="Check a dataset on disk.\n\nExample: vlrlt data check epic --annotations toy --videos toy/videos",
)
collection_app = typer.Typer(
    no_args_is_help=True,
    help="Keep moments in collections, with tags, ratings and notes.\n\nExample: vlrlt collection list --library lib",
)
app.add_typer(collection_app, name="collection")
app.add_typer(toy_app, name="toy")
app.add_typer(eval_app, name="eval")
app.add_typer(data_app, name="data")

LibraryDir = Annotated[Path, typer.Option("--library", metavar="DIR", help="The library folder.")]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL", help="'default', a model folder, a name such as ViT-B-16/openai, code (MODULE:CLASS) or a URL."
    ),
]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="Processor: auto, cpu, cuda, cuda:1 or mps.")]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16"] | None,
    typer.Option(help="Precision of the video encoder. auto uses bfloat16 where the processor computes it faster."),
]
Policy = Annotated[
    Literal["threshold", "budget", "random", "none"] | None,
    typer.Option("--policy", help="How the encoder chooses the tokens that it drops."),
]
Threshold = Annotated[
    float | None,
    typer.Option("--threshold-255", help="Difference that keeps a patch, in grey levels (policy threshold)."),
]
Budget = Annotated[
    int | None,
    typer.Option(
        "--budget-tokens", help="Tokens per clip: the most for threshold, the exact number for budget and random."
    ),
]
Include = Annotated[
    list[str] | None, typer.Option(help="Index only files that match, such as '2026-*' or 'cam1/*'. Repeatable.")
]
Exclude = Annotated[list[str] | None, typer.Option(help="Skip matching files and folders. Repeatable.")]
MaxShift = Annotated[
    float,
    typer.Option(
        min=0, help="With --clip-seconds: shift frames by up to this many seconds, so that key frames suffice."
    ),
]
ScreenText = Annotated[bool, typer.Option("--screen-text", help="Also read text in the picture, where it is new.")]
Speech = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="Also transcribe speech: whisper/small, whisper/large-v3-turbo, or a folder."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace existing files.")]
Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]


def _show_version(asked: bool) -> None:
    if asked:
        say(f"vlrlt {__version__}")
        raise typer.Exit


@app.callback()
def _vlrlt(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Index a video archive, find moments by natural language, fine-tune the encoder.

    Example: vlrlt index ~/Videos --library lib && vlrlt search "open the fridge" --library lib
    """


def take(command: Callable[..., None], parameters: Iterable[inspect.Parameter]) -> None:
    """Let Typer take other options for a command than those that it is defined with; it gets them by keyword."""
    keyword_only = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    command.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in keyword_only}


def given(**options: Any) -> dict[str, Any]:  # noqa: ANN401  as many kinds as there are options
    """The options that were given: the defaults of the others stand where they are used; tests compare those shown."""
    return {name: value for name, value in options.items() if value is not None}


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print results; nothing that the archive or a model has said is obeyed by a terminal."""
    typer.echo(printable(text), err=err, nl=nl)


def _forget_output() -> None:
    """What could not be written is still waiting: Python would try again at its end, and say so."""
    with contextlib.suppress(OSError, ValueError):  # a stream of a test has no number
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def notify(message: str) -> None:
    """Tell people something, beside the results."""
    with contextlib.suppress(OSError):  # who does not listen need not be told
        typer.echo(f"vlrlt: {printable(message)}", err=True)


def check_new(out: Path, *, force: bool) -> None:
    """Refuse to replace what was not asked to be."""
    if os.path.exists(out) and not force:  # noqa: PTH110  Path raises for names that are too long
        raise ConfigError(f"{out} exists; choose another name, or replace it with --force")


def token_policy(
    kind: Literal["threshold", "budget", "random", "none"] | None,
    threshold_255: float | None,
    budget_tokens: int | None,
) -> "TokenPolicy | None":
    """The token policy of the options; None: none was given."""
    if kind is None and threshold_255 is None and budget_tokens is None:
        return None
    from vlrlt.tokens.run_length import TokenPolicy

    if threshold_255 is not None and kind not in (None, "threshold"):
        raise ConfigError(f"--threshold-255 needs the policy 'threshold', got {kind!r}")
    policy = TokenPolicy(kind=kind or "threshold", budget_tokens=budget_tokens)
    return policy if threshold_255 is None else replace(policy, threshold_255=threshold_255)
