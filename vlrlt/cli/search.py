"""Commands that look things up in a library: search."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlrlt.cli.root import Device, Json, Library, Model, app
from vlrlt.errors import ConfigError

if TYPE_CHECKING:
    from vlrlt.index.search import Query


@app.command()
def search(
    library: Library,
    query: Annotated[str | None, typer.Argument(metavar="[QUERY]", help="What to find, in words.")] = None,
    clip: Annotated[
        str | None, typer.Option(metavar="FILE[@START-END]", help="A piece of video as the query; seconds or mm:ss.")
    ] = None,
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="A picture as the query.")] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="How many moments.")] = 10,
    model: Model = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Find the moments of a library that fit words, a picture or a piece of video best.

    The percentile is the share of the library's clips that fit worse; scores compare within one query only.

    Example: vlrlt search "open the fridge" --library lib -k 5
    Example: vlrlt search --clip day1.mp4@01:10-01:14 --library lib
    """
    from vlrlt.service import Service

    with Service(library, model=model, device=device) as service:
        result = service.search(_query(query, clip, image), k=top_k)
    typer.echo(json.dumps(result.as_json()) if as_json else result.as_text())


def _query(text: str | None, clip: str | None, image: Path | None) -> "Query":
    from vlrlt.index.search import ImageQuery, TextQuery, parse_clip

    if sum(given is not None for given in (text, clip, image)) != 1:
        raise ConfigError("give either words, or --clip FILE[@START-END], or --image FILE")
    if clip is not None:
        return parse_clip(clip)
    return ImageQuery(image) if image is not None else TextQuery(str(text))
