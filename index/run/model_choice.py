"""Which model a library is indexed with, and which of its models answers searches."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlrlt.errors import ConfigError
from vlrlt.index.library.catalog import LibrarySettings
from vlrlt.index.library.ledger import Ledger, library_models
from vlrlt.index.library.segments import let_go
from vlrlt.index.run.build import model_source
from vlrlt.index.run.maintain import open_or_repair
from vlrlt.types import PrecisionChoice
from vlrlt.video.sampling import query_sampling

if TYPE_CHECKING:
    from vlrlt.embedder import Embedder
    from vlrlt.tokens.run_length import TokenPolicy

TOY_NOTICE = "'default' knows only the toy kitchen; for real videos see: vlrlt models list"


def choose_embedder(
    library_dir: Path,
    *,
    model: str | None,
    device: str = "auto",
    precision: PrecisionChoice | None = None,
    policy: "TokenPolicy | None" = None,
    sampling: Mapping[str, Any] | None = None,
    notify: Callable[[str], None] = lambda _: None,
) -> "Embedder":
    """The library's own model, or the one that is asked for, with the options that were given.

    Args:
        library_dir: the library, which need not be there yet.
        model: what load_embedder takes; None: the one that answers, at first 'default'.
        device: where it runs.
        precision: instead of the library's own, or of what load_embedder chooses.
        policy: instead of the library's own, or the model's.
        sampling: fields of ClipSampling: clips at equal distances, instead of looks that follow motion or of the
            library's own; the stride follows a shorter clip.
        notify: is told if 'default' is taken because nothing else was said.

    Raises:
        CheckpointError: the model cannot be loaded.
        ConfigError: no such device here, or a sampling that cannot be.
        LibraryError: another process is writing, or the library is damaged.
    """
    from vlrlt.embed import load_embedder
    from vlrlt.embedder import DEFAULT_MODEL

    known = library_models(library_dir)
    bound = next((one for one in known if model is None or model_source(model) == one.model), None)
    if bound is None and model is None:
        notify(TOY_NOTICE)
    source = bound.model if bound else model or DEFAULT_MODEL
    own: dict[str, Any] = {}
    if bound:
        own = {"policy": bound.token_policy(), "sampling": bound.sampling, "precision": bound.precision}
    given = {name: value for name, value in (("policy", policy), ("precision", precision)) if value is not None}
    load = partial(load_embedder, source, device=device, recorded=model is None)
    embedder = load(**own | given)
    if not sampling:
        return embedder
    uniform = query_sampling(embedder.sampling)
    stride_s = min(uniform.stride_s, sampling.get("clip_s", uniform.clip_s))
    changed = replace(uniform, **{"stride_s": stride_s} | dict(sampling))
    return load(**own | given | {"sampling": changed})


def use_model(library_dir: Path, model: str, *, forget_others: bool = False) -> LibrarySettings:
    """Let another model answer searches.

    Args:
        library_dir: the library.
        model: name of an indexed model, or the start of its fingerprint.
        forget_others: remove the vectors of all other models.

    Raises:
        ConfigError: it fits no model of the library or several, or not everything is indexed with it.
        LibraryError: there is no library, or another process is writing.
    """
    with Ledger.open_existing(library_dir) as ledger:
        models = ledger.models()
        fitting = [one for one in models if one.model == model_source(model) or one.fingerprint.startswith(model)]
        if len(fitting) != 1:
            known = "; ".join(map(str, models)) or "none"
            raise ConfigError(
                f"{model!r} matches {len(fitting)} models of {library_dir}; give the start of a fingerprint: {known}"
            )
        lacking = ledger.num_videos_missing_from(fitting[0])
        if lacking:
            raise ConfigError(
                f"{lacking} videos are not indexed with {fitting[0]} yet; run vlrlt index with this model again"
            )
        ledger.use(fitting[0])
        for other in models if forget_others else ():
            if other != fitting[0]:
                ledger.forget_model(other)
        let_go(library_dir, ledger.all_segments())
        open_or_repair(ledger)
    return fitting[0]
