"""The search options of the command line: one entry for each field of SearchRequest and of its filter.

What is not given is not passed on, so that the defaults stand in SearchRequest alone; a test compares those shown here.
"""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from vlrlt.cli.root import take

_Command = TypeVar("_Command", bound=Callable[..., None])
_FILTERS = "Filters"
_SHOW = "Output"


def _share(text: str) -> Any:  # noqa: ANN401  Typer's own type for an option
    return typer.Option(metavar="SHARE", min=0, max=1, rich_help_panel=_FILTERS, help=text)


SPELLINGS: dict[str, Any] = {
    "text": Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[QUERY]...", help="Words to find; together they are one query. ^2 at the end doubles its weight."
        ),
    ],
    "clips": Annotated[
        list[str] | None,
        typer.Option(
            "--clip", metavar="FILE[@START-END]", help="Find moments like this piece of video (seconds or mm:ss)."
        ),
    ],
    "images": Annotated[
        list[Path] | None, typer.Option("--image", metavar="FILE", help="Find moments like this picture.")
    ],
    "like": Annotated[list[str] | None, typer.Option(metavar="CLIP", help="Prefer moments like this clip of a hit.")],
    "unlike": Annotated[list[str] | None, typer.Option(metavar="CLIP", help="Avoid moments like this clip of a hit.")],
    "without": Annotated[
        list[str] | None, typer.Option("--not", metavar="TEXT", help="Leave out moments that match this text.")
    ],
    "then": Annotated[list[str] | None, typer.Option(metavar="TEXT", help="Text that must follow in the same video.")],
    "within_s": Annotated[
        float | None,
        typer.Option("--within", metavar="SECONDS", min=0, show_default="30.0", help="Maximum time between two steps."),
    ],
    "paths": Annotated[
        list[str] | None,
        typer.Option(
            "--path",
            metavar="GLOB",
            rich_help_panel=_FILTERS,
            help="Only videos whose path or name matches: '*/2024/*'.",
        ),
    ],
    "not_paths": Annotated[
        list[str] | None,
        typer.Option(
            "--not-path", metavar="GLOB", rich_help_panel=_FILTERS, help="Skip videos whose path or name matches."
        ),
    ],
    "videos": Annotated[
        list[str] | None,
        typer.Option("--video", metavar="ID", rich_help_panel=_FILTERS, help="Only this video: the video_id of a hit."),
    ],
    "recorded_after": Annotated[
        str | None,
        typer.Option(
            "--after",
            metavar="TIME",
            rich_help_panel=_FILTERS,
            help="Only videos recorded at or after: 2024-05-01, in local time.",
        ),
    ],
    "recorded_before": Annotated[
        str | None,
        typer.Option("--before", metavar="TIME", rich_help_panel=_FILTERS, help="Only videos recorded before."),
    ],
    "min_duration_s": Annotated[
        float | None,
        typer.Option(
            "--min-duration", metavar="SECONDS", rich_help_panel=_FILTERS, help="Only videos of at least this length."
        ),
    ],
    "max_duration_s": Annotated[
        float | None,
        typer.Option(
            "--max-duration", metavar="SECONDS", rich_help_panel=_FILTERS, help="Only videos of at most this length."
        ),
    ],
    "where": Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            rich_help_panel=_FILTERS,
            help="Only videos whose metadata match: camera=gopro, 'rating>=3'.",
        ),
    ],
    "moving": Annotated[float | None, _share("Only clips in which at least this share of the tokens is kept.")],
    "still": Annotated[float | None, _share("Only clips in which at most this share of the tokens is kept.")],
    "sources": Annotated[
        list[str] | None,
        typer.Option(
            "--in",
            metavar="picture|subtitles|speech|screen",
            rich_help_panel=_FILTERS,
            help="Search only this source. Repeatable. Default: all.",
        ),
    ],
    "k": Annotated[
        int | None,
        typer.Option("--top-k", "-k", min=1, rich_help_panel=_SHOW, show_default="10", help="Number of moments."),
    ],
    "per_video": Annotated[
        int | None,
        typer.Option(
            min=0,
            rich_help_panel=_SHOW,
            show_default="5",
            help="Maximum number of moments from one video; 0 for no limit.",
        ),
    ],
    "diversity": Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            rich_help_panel=_SHOW,
            show_default="0.0",
            help="Above 0, prefer moments that differ from each other.",
        ),
    ],
    "group_by": Annotated[
        Literal["moment", "video"] | None,
        typer.Option(rich_help_panel=_SHOW, show_default="moment", help="List moments, or videos with their moments."),
    ],
    "duplicates": Annotated[
        bool | None,
        typer.Option("--duplicates", rich_help_panel=_SHOW, help="Also show copies of a scene in other videos."),
    ],
    "tail": Annotated[
        bool | None,
        typer.Option(
            "--tail", rich_help_panel=_SHOW, help="Also show the nearest moments that are not a confident match."
        ),
    ],
    "rerank": Annotated[
        Literal["vlm"] | None,
        typer.Option(
            rich_help_panel=_SHOW,
            help="Check and reorder the first moments with the model at VLRLT_VLM_URL. Sends frames to it.",
        ),
    ],
    "rerank_most": Annotated[
        int | None,
        typer.Option(
            min=1, max=200, rich_help_panel=_SHOW, show_default="50", help="Maximum number of moments to check."
        ),
    ],
    "page": Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN", rich_help_panel=_SHOW, help="Show another page: the next_page of the previous result."
        ),
    ],
}


def takes_request(*names: str) -> Callable[[_Command], Callable[..., None]]:
    """Replace a command's parameter `options` by options for some fields of a search; none named: all of them.

    The command gets what was given, as SearchRequest.replaced takes it.
    """
    spelled = {name: SPELLINGS[name] for name in names or SPELLINGS}

    def decorate(command: _Command) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**values: Any) -> None:  # noqa: ANN401  as many kinds as there are options
            given = {name: value for name in spelled if (value := values.pop(name)) not in (None, [])}
            if given.get("per_video") == 0:
                given["per_video"] = None
            command(options=given, **values)

        own = inspect.Parameter.KEYWORD_ONLY
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command).parameters.values():
            if parameter.name == "options":
                parameters += [inspect.Parameter(n, own, default=None, annotation=a) for n, a in spelled.items()]
            else:
                parameters.append(parameter)
        take(run, parameters)
        return run

    return decorate
