"""Commands around pretrained models: models list, info, pull."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlrlt.cli.root import Device, Json, app, say
from vlrlt.errors import ConfigError

if TYPE_CHECKING:
    from vlrlt.models.known import KnownModel

models_app = typer.Typer(
    no_args_is_help=True,
    help="List and download pretrained models for real videos.\n\nExample: vlrlt models list",
)
app.add_typer(models_app, name="models")

Name = Annotated[
    str, typer.Argument(metavar="ARCH/PRETRAINED", help="An open_clip name, as vlrlt models list prints it.")
]
Measure = Annotated[
    bool, typer.Option("--measure", help="Measure the encoding speed on this machine. No weights are needed.")
]


@models_app.command("list")
def models_list(measure: Measure = False, device: Device = "auto", as_json: Json = False) -> None:
    """List models for real videos: size, licence, languages, published recall. Nothing is downloaded.

    Example: vlrlt models list
    Example: vlrlt models list --measure
    """
    from vlrlt.models.known import KNOWN_MODELS, RECOMMENDED_MODEL

    described = [_describe(model, measure=measure, device=device) for model in KNOWN_MODELS]
    if as_json:
        say(json.dumps({"models": described}))
        return
    say(f"{'model':32}{'here':6}{'download':>10}  {'licence':12}{'queries':9}{'COCO':>6}{'VTT':>7}{'realtime':>10}")
    for one in described:
        say(
            f"{one['name']:32}{'yes' if one['here'] else '-':6}{one['download_MB']:>7} MB  {one['licence']:12}"
            f"{one['languages']:9}{one['coco_recall']:>6.3f}{_or_dash(one['msrvtt_recall'], '.3f'):>7}"
            f"{_or_dash(one['realtime'], '.1f'):>10}"
        )
    say(
        f"\nRecommended for real videos: {RECOMMENDED_MODEL}.\n"
        "COCO, VTT: published zero-shot R@1 of MSCOCO and MSR-VTT, captions as queries; `vlrlt models info` names the\n"
        "source. realtime: seconds of video encoded in one second with half of the tokens kept, decoding not counted;\n"
        "--measure measures it."
    )


@models_app.command("info")
def models_info(name: Name, measure: Measure = False, device: Device = "auto", as_json: Json = False) -> None:
    """Show one model: its figures, and the revision and checksums that are locked here.

    Example: vlrlt models info ViT-B-16-SigLIP2/webli
    """
    from vlrlt.models.known import KNOWN_MODELS

    known = {model.name: model for model in KNOWN_MODELS}
    if name not in known:
        raise ConfigError(f"{name!r} is not in vlrlt models list; vlrlt index may still accept it")
    described = _describe(known[name], measure=measure, device=device)
    if as_json:
        say(json.dumps(described))
        return
    say("\n".join(f"{key:18}{_for_people(value)}" for key, value in described.items()))


@models_app.command("pull")
def models_pull(name: Name, as_json: Json = False) -> None:
    """Download a model, or verify its checksums if it is here. Afterwards vlrlt uses it without a network.

    The first download pins the revision and the SHA-256 of every file in vlrlt-lock.json in the Hugging Face cache.

    Example: vlrlt models pull PE-Core-B-16/meta
    Example: vlrlt models pull whisper/small
    """
    from vlrlt.models.hub import hub_cache, pull, pull_files
    from vlrlt.models.known import KNOWN_MODELS, SPEECH_MODELS

    for model in KNOWN_MODELS:
        if model.name == name:
            say(f"{name}: {model.download_MB} MB, {model.licence}, to {hub_cache()}", err=True)
    locked = pull_files(*SPEECH_MODELS[name]) if name in SPEECH_MODELS else pull(name)
    if as_json:
        say(json.dumps({"name": name, "cache": str(hub_cache()), **vars(locked)}))
        return
    say(f"{name} is here: {locked.repository} at {locked.revision}")
    say("\n".join(f"  {sha256}  {file}" for file, sha256 in locked.sha256.items()))


def _describe(model: "KnownModel", *, measure: bool, device: str) -> dict[str, Any]:
    from vlrlt.models.hub import find_locked

    realtime = None
    if measure:
        from vlrlt.evaluate.encoding_speed import measure_realtime

        realtime = round(measure_realtime(model.name.partition("/")[0], device=device), 2)
    locked = find_locked(model.name)
    return model.as_json() | {
        "realtime": realtime,
        "here": locked is not None,
        "locked": None if locked is None else vars(locked),
    }


def _or_dash(value: float | None, spec: str) -> str:
    return "-" if value is None else format(value, spec)


def _for_people(value: object) -> object:
    """What JSON calls null, true and false."""
    return "-" if value is None else ("no", "yes")[value] if isinstance(value, bool) else value
