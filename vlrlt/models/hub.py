"""Weights of open_clip and timm models from the Hugging Face hub: downloaded once, pinned, verified; then no request.

CACHE/vlrlt-lock.json says which revision was fetched of a hub repository, and the SHA-256 of each of its files. It
travels with the cache, which is HF_HUB_CACHE (by default ~/.cache/huggingface/hub). What is locked needs no network.

No package carries checksums of these weights (those in open_clip's registry are of other files, pickles). The first
download is therefore trusted, as far as it equals the SHA-256 that the hub states; every later one must equal the lock.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import open_clip
import timm
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from vlrlt.atomic import replacing
from vlrlt.errors import CheckpointError
from vlrlt.models.known import KNOWN_MODELS

LOCK_FILE = "vlrlt-lock.json"
_OPEN_CLIP_FILE, _TIMM_FILE = "open_clip_model.safetensors", "model.safetensors"
TIMM_PREFIX = "timm/"
"""Of names of image towers alone: timm/ARCH.TAG, as the hub calls their repositories too."""
_TOKENIZER_FILES = ("open_clip_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class LockedModel:
    """One hub repository of the lock file."""

    repository: str
    revision: str
    """Commit, 40 hexadecimal digits."""
    sha256: dict[str, str]
    """Of every file; the weights come first."""


def hub_cache() -> Path:
    """The folder of downloaded models; HF_HOME and HF_HUB_CACHE are honoured."""
    return Path(constants.HF_HUB_CACHE)


def locked_models(*, cache_dir: Path | None = None) -> tuple[LockedModel, ...]:
    """All that the lock file lists, whether their files are still there or not."""
    return tuple(_read_lock(cache_dir or hub_cache()).values())


def find_locked(name: str, *, cache_dir: Path | None = None) -> LockedModel | None:
    """What the lock file says of ARCH/PRETRAINED; None: it was never fetched, or a file is gone."""
    cache_dir = cache_dir or hub_cache()
    locked = _read_lock(cache_dir).get(_repository(name))
    if locked is None or not all(_cached(locked, file, cache_dir).exists() for file in locked.sha256):
        return None
    return locked


def fetch_weights(name: str, *, cache_dir: Path | None = None) -> Path:
    """The weights of ARCH/PRETRAINED or timm/ARCH.TAG: from the cache if locked there, else downloaded and locked.

    Raises:
        CheckpointError: the hub cannot be reached, has no safetensors file, or sent another file than the locked one.
    """
    cache_dir = cache_dir or hub_cache()
    locked = find_locked(name, cache_dir=cache_dir) or _download(name, cache_dir)
    return _cached(locked, next(iter(locked.sha256)), cache_dir)


def fetch_files(repository: str, files: Sequence[str], *, cache_dir: Path | None = None) -> Path:
    """A folder with files of a hub repository: from the cache if they are locked there, else downloaded and locked.

    Raises:
        CheckpointError: as fetch_weights.
    """
    cache_dir = cache_dir or hub_cache()
    locked = _read_lock(cache_dir).get(repository)
    if locked is None or not all(_cached(locked, file, cache_dir).exists() for file in files):
        locked = _download_files(repository, files, locked.revision if locked else None, cache_dir)
    return _cached(locked, files[0], cache_dir).parent


def pull(name: str, *, cache_dir: Path | None = None) -> LockedModel:
    """Fetch ARCH/PRETRAINED if it is not here, and compare every file with its SHA-256.

    Raises:
        CheckpointError: as fetch_weights, or a file in the cache is damaged.
    """
    cache_dir = cache_dir or hub_cache()
    locked = find_locked(name, cache_dir=cache_dir)
    return _download(name, cache_dir) if locked is None else _checked(locked, cache_dir)


def pull_files(repository: str, files: Sequence[str], *, cache_dir: Path | None = None) -> LockedModel:
    """Fetch files of a hub repository if they are not here, and compare every one with its SHA-256; raises as pull."""
    cache_dir = cache_dir or hub_cache()
    fetch_files(repository, files, cache_dir=cache_dir)
    return _checked(_read_lock(cache_dir)[repository], cache_dir)


def _checked(locked: LockedModel, cache_dir: Path) -> LockedModel:
    for file, expected in locked.sha256.items():
        _check(_cached(locked, file, cache_dir), expected, says=f"{cache_dir / LOCK_FILE} says")
    return locked


def tokenizer_folder(architecture: str, *, cache_dir: Path | None = None) -> Path | None:
    """Where the locked tokenizer of an architecture lies; None: in no locked repository, or it comes with open_clip."""
    cache_dir = cache_dir or hub_cache()
    locked = _read_lock(cache_dir).get(tokenizer_repository(architecture))
    if locked is None or not all(_cached(locked, file, cache_dir).exists() for file in _TOKENIZER_FILES):
        return None
    return _cached(locked, _TOKENIZER_FILES[0], cache_dir).parent


def _download(name: str, cache_dir: Path) -> LockedModel:
    """Get the locked revision; without a lock the known one; else the newest, whose commit and checksums are locked."""
    repository = _repository(name)
    locked = _read_lock(cache_dir).get(repository)
    known = {model.name: model.revision for model in KNOWN_MODELS}.get(name)
    is_timm = name.startswith(TIMM_PREFIX)
    own_tokenizer = not is_timm and tokenizer_repository(name.partition("/")[0]) == repository
    files = (_TIMM_FILE if is_timm else _OPEN_CLIP_FILE, *(_TOKENIZER_FILES if own_tokenizer else ()))
    return _download_files(repository, files, locked.revision if locked else known, cache_dir)


def _download_files(repository: str, files: Sequence[str], revision: str | None, cache_dir: Path) -> LockedModel:
    """Get files of a revision, None: the newest; they must equal what is locked of them."""
    lock = _read_lock(cache_dir)
    first = _get(repository, files[0], revision, cache_dir)
    commit = first.parent.name
    paths = [first, *(_get(repository, file, commit, cache_dir) for file in files[1:])]
    expected = lock[repository].sha256 if repository in lock else {}
    checksums = {
        path.name: _check(path, expected.get(path.name) or _stated_by_hub(path), says="the hub or the lock file says")
        for path in paths
    }
    found = LockedModel(repository=repository, revision=commit, sha256=checksums)
    _write_lock(cache_dir, {**lock, repository: found})
    return found


def _get(repository: str, file: str, revision: str | None, cache_dir: Path) -> Path:
    logging.getLogger("huggingface_hub.utils._http").setLevel(logging.ERROR)  # five retries are ten lines; ours is one
    try:
        return Path(hf_hub_download(repository, file, revision=revision, cache_dir=cache_dir))
    except LocalEntryNotFoundError as error:
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{constants.ENDPOINT} cannot be reached"
        raise CheckpointError(
            f"{repository}/{file} is not in {cache_dir} and {why}; `vlrlt models pull` it on a machine with network "
            f"access and copy that folder, or point --model at ARCH/FILE.safetensors"
        ) from error
    except EntryNotFoundError as error:
        raise CheckpointError(
            f"{constants.ENDPOINT}/{repository} has no {file}; other formats are pickles, which can run code and are "
            f"not loaded"
        ) from error
    except Exception as error:  # httpx, the hub and the file system raise many types
        raise CheckpointError(f"{repository}/{file}: {type(error).__name__}: {' '.join(str(error).split())}") from error


def _check(path: Path, expected: str | None, *, says: str) -> str:
    """The SHA-256 of a file; a file that should have another one is removed, so that it can be fetched again."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if expected not in (None, found):
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise CheckpointError(
            f"{path.name} has SHA-256 {found}, but {says} {expected}; the file was removed: pull "
            f"again, and if this happens twice, do not trust the source"
        )
    return found


def _stated_by_hub(path: Path) -> str | None:
    """The hub names large files by their SHA-256, and the cache keeps that name; small ones have another hash."""
    stated = path.resolve().name
    return stated if _SHA256.fullmatch(stated) else None


def _repository(name: str) -> str:
    """The hub repository of ARCH/PRETRAINED or timm/ARCH.TAG, by the registries of open_clip and timm."""
    if name.startswith(TIMM_PREFIX):
        return _timm_repository(name.removeprefix(TIMM_PREFIX))
    architecture, _, pretrained = name.partition("/")
    config = open_clip.get_pretrained_cfg(architecture, pretrained)
    if not config:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
        raise CheckpointError(
            f"open_clip does not know {name!r}; tags of {architecture!r}: {tags}; see: vlrlt models list"
        )
    return str(os.path.split(config["hf_hub"])[0])


def _timm_repository(name: str) -> str:
    with contextlib.suppress(RuntimeError):  # no such tag
        config = timm.get_pretrained_cfg(name)
        if config is not None and config.hf_hub_id:
            return str(config.hf_hub_id)
    tags = ", ".join(timm.list_pretrained(f"{name.partition('.')[0]}.*")) or "none"
    raise CheckpointError(
        f"the hub has no weights of {TIMM_PREFIX}{name}, and other places have pickles, which can run code and are not "
        f"loaded; known weights: {tags}"
    )


def tokenizer_repository(architecture: str) -> str:
    """Empty: the tokenizer comes with open_clip."""
    return str(open_clip.get_model_config(architecture)["text_cfg"].get("hf_tokenizer_name", ""))


def _cached(locked: LockedModel, file: str, cache_dir: Path) -> Path:
    """The cache's own layout, see https://huggingface.co/docs/huggingface_hub/guides/manage-cache."""
    return cache_dir / f"models--{locked.repository.replace('/', '--')}" / "snapshots" / locked.revision / file


def _read_lock(cache_dir: Path) -> dict[str, LockedModel]:
    path = cache_dir / LOCK_FILE
    try:
        models = json.loads(path.read_text(encoding="utf-8"))["models"]
        return {model["repository"]: LockedModel(**model) for model in models}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error!r}; repair or remove it, then pull again") from error


def _write_lock(cache_dir: Path, lock: dict[str, LockedModel]) -> None:
    path = cache_dir / LOCK_FILE
    try:
        with replacing(path) as unfinished:
            text = json.dumps({"models": [asdict(model) for model in lock.values()]}, indent=1)
            unfinished.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be written: {error.strerror}; pull as a user with permission to write it"
        ) from error
