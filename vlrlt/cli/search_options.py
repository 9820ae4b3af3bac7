"""How the command line spells a search: one entry for each field of SearchRequest and of its filter.

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
_SHOW = "What is shown"
SPELLINGS: dict[str, Any] = {
    "text": Annotated[
        list[str] | None,
        typer.Argument(metavar="[QUERY]...", help="What to find, in words; 'open the fridge^2' weighs 2."),
    ],
    "clips": Annotated[
        list[str] | None,
        typer.Option("--clip", metavar="FILE[@START-END]", help="A piece of video to find; seconds or mm:ss."),
    ],
    "images": Annotated[list[Path] | None, typer.Option("--image", metavar="FILE", help="A picture to find.")],
    "like": Annotated[list[str] | None, typer.Option(metavar="CLIP", help="More like this: the clip of a hit.")],
    "unlike": Annotated[list[str] | None, typer.Option(metavar="CLIP", help="Less like the clip of a hit.")],
    "without": Annotated[list[str] | None, typer.Option("--not", metavar="TEXT", help="What not to show.")],
    "then": Annotated[list[str] | None, typer.Option(metavar="TEXT", help="What comes after it.")],
    "within_s": Annotated[
        float | None,
        typer.Option("--within", metavar="SECONDS", min=0, show_default="30.0", help="From one step to the next."),
    ],
    "paths": Annotated[
        list[str] | None,
        typer.Option(
            "--path", metavar="GLOB", rich_help_panel=_FILTERS, help="Of the video's path or name: '*/2024/*'."
        ),
    ],
    "not_paths": Annotated[list[str] | None, typer.Option("--not-path", metavar="GLOB", rich_help_panel=_FILTERS)],
    "videos": Annotated[
        list[str] | None, typer.Option("--video", metavar="ID", rich_help_panel=_FILTERS, help="video_id of a hit.")
    ],
    "recorded_after": Annotated[
        str | None,
        typer.Option("--after", metavar="TIME", rich_help_panel=_FILTERS, help="Recorded then or later: 2024-05-01."),
    ],
    "recorded_before": Annotated[
        str | None, typer.Option("--before", metavar="TIME", rich_help_panel=_FILTERS, help="Recorded earlier.")
    ],
    "min_duration_s": Annotated[
        float | None,
        typer.Option("--min-duration", metavar="SECONDS", rich_help_panel=_FILTERS, help="Of the video."),
    ],
    "max_duration_s": Annotated[
        float | None, typer.Option("--max-duration", metavar="SECONDS", rich_help_panel=_FILTERS)
    ],
    "where": Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", rich_help_panel=_FILTERS, help="On metadata: camera=gopro, 'rating>=3'."),
    ],
    "moving": Annotated[
        float | None,
        typer.Option(metavar="SHARE", min=0, max=1, rich_help_panel=_FILTERS, help="Least share of moving tokens."),
    ],
    "still": Annotated[
        float | None,
        typer.Option(metavar="SHARE", min=0, max=1, rich_help_panel=_FILTERS, help="Largest share of moving tokens."),
    ],
    "sources": Annotated[
        Literal["visual", "text"] | None,
        typer.Option(
            "--source", rich_help_panel=_SHOW, help="Pictures, or subtitles and narrations; both if not given."
        ),
    ],
    "k": Annotated[
        int | None,
        typer.Option("--top-k", "-k", min=1, rich_help_panel=_SHOW, show_default="10", help="How many moments."),
    ],
    "per_video": Annotated[
        int | None,
        typer.Option(min=0, rich_help_panel=_SHOW, show_default="5", help="Moments of one video at most; 0: no limit."),
    ],
    "diversity": Annotated[
        float | None,
        typer.Option(
            min=0, max=1, rich_help_panel=_SHOW, show_default="0.0", help="Above 0: moments that differ come first."
        ),
    ],
    "group_by": Annotated[
        Literal["moment", "video"] | None, typer.Option(rich_help_panel=_SHOW, show_default="moment")
    ],
    "duplicates": Annotated[
        bool | None,
        typer.Option("--duplicates", rich_help_panel=_SHOW, help="Also copies of a scene in other videos."),
    ],
    "tail": Annotated[bool | None, typer.Option("--tail", rich_help_panel=_SHOW, help="Also what fits too little.")],
    "page": Annotated[
        str | None, typer.Option(metavar="TOKEN", rich_help_panel=_SHOW, help="next_page of the page before.")
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
