"""Commands that answer questions: ask."""

import json
from pathlib import Path
from typing import Annotated

import typer

from vlrlt.cli.root import Device, Json, LibraryDir, Model, app, notify, say
from vlrlt.errors import ConfigError


@app.command()
def ask(  # noqa: PLR0913  every option is one of the question's
    words: Annotated[list[str], typer.Argument(metavar="QUESTION...", help="A question in English.")],
    library: LibraryDir,
    option: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="One of the answers to choose from. Give two or more.")
    ] = None,
    vocabulary: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Actions that answers may name, one on each line.")
    ] = None,
    path: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Use only videos whose path or name matches.")
    ] = None,
    vlm: Annotated[
        bool, typer.Option("--vlm", help="Send frames of the moments to the vision-language model at VLRLT_VLM_URL.")
    ] = False,
    schema: Annotated[Path | None, typer.Option(metavar="FILE", help="JSON schema for the value (with --vlm).")] = None,
    model: Model = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Answer a question about the videos and show the moments that support the answer.

    Without a network, ask answers when, where, whether, how often and how long something happened, what happened
    before, after or between, what was first or last, which of several options is shown, and what is done with a thing.
    With --vlm a vision-language model answers from the frames that were found.

    Example: vlrlt ask "How many times did I open the fridge?" --library lib
    Example: vlrlt ask "What happened after someone closed the fridge?" --library lib --json
    """
    from vlrlt.ask.answer import Answer
    from vlrlt.ask.question import parse_question
    from vlrlt.ask.vlm import Endpoint, VlmAnswerer
    from vlrlt.index.search.filters import Filter
    from vlrlt.service import Library

    question, within = " ".join(words), Filter(paths=tuple(path or ()))
    if schema is not None and not vlm:
        raise ConfigError("--schema needs --vlm: without a language model, every answer has the documented form")
    endpoint = Endpoint.from_environment() if vlm else None
    with Library(library, model=model, device=device) as service:
        if endpoint is None:
            actions = _read(vocabulary).splitlines() if vocabulary else []
            answer = service.ask(question, options=option or (), within=within, vocabulary=actions)
        else:
            answerer = VlmAnswerer(service, endpoint)
            notify(answerer.notice())
            shape = _read_json(schema) if schema else None
            parsed = parse_question(question, options=tuple(option or ()))
            for part in answerer.stream(parsed, within=within, schema=shape):
                if isinstance(part, Answer):
                    answer = part
    say(json.dumps(answer.as_json()) if as_json else answer.as_text())


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8: {error}") from error


def _read_json(path: Path) -> dict[str, object]:
    try:
        schema = json.loads(_read(path))
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    if not isinstance(schema, dict):
        raise ConfigError(f"{path}: a JSON schema must be an object, got {type(schema).__name__}")
    return schema
