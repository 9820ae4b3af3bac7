"""What this installation can do, and what to do about the rest: `vlrlt doctor`."""

import importlib
import platform
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vlrlt.errors import MissingExtraError

Verdict = Literal["ok", "warning", "broken"]

_SAFE_FFMPEG = (8, 1, 2)
"""Older ones have the MagicYUV heap write, CVE-2026-8461."""
_SAFE_SQLITE = (3, 51, 3)
"""Older ones can corrupt a WAL database when the log is reset."""
_FREE_BYTES = 2 * 10**9


@dataclass(frozen=True, kw_only=True)
class Check:
    """One finding."""

    name: str
    verdict: Verdict
    """broken: indexing or search cannot work; warning: they can, something else is missing, old or slow."""
    found: str
    advice: str = ""
    """What to do; empty where the verdict is ok."""

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape of one check of `vlrlt doctor --json`."""
        return vars(self).copy()


def run_checks() -> tuple[Check, ...]:
    """Look at everything; nothing is downloaded or changed."""
    checks = (_python, _torch, _faiss, _ffmpeg, _sqlite, _decord, _open_clip, _default_model, _free_disk)
    return tuple(_guarded(check) for check in checks)


def _guarded(check: Callable[[], Check]) -> Check:
    """An import can fail in as many ways as there are packages; each is a finding, none may stop the others."""
    name = check.__name__.strip("_")
    verdict: Verdict = "warning" if check in (_decord, _open_clip) else "broken"
    try:
        return check()
    except MissingExtraError as error:
        return Check(name=name, verdict=verdict, found="not installed", advice=str(error))
    except Exception as error:
        found = f"{type(error).__name__}: {error}".splitlines()[0]
        return Check(name=name, verdict=verdict, found=found, advice="pip install --force-reinstall vlrlt")


def _python() -> Check:
    return Check(name="python", verdict="ok", found=f"{platform.python_version()} at {sys.executable}")


def _torch() -> Check:
    torch = importlib.import_module("torch")
    if torch.cuda.is_available():
        return Check(name="torch", verdict="ok", found=f"{torch.__version__}, CUDA: {torch.cuda.get_device_name()}")
    if torch.version.cuda is None:
        why, advice = "this build is for CPUs", "for an NVIDIA GPU: https://pytorch.org/get-started"
    else:
        why = f"built for CUDA {torch.version.cuda}, but no NVIDIA GPU and driver were found"
        advice = "fine without a GPU; with one, nvidia-smi must list it"
    return Check(name="torch", verdict="warning", found=f"{torch.__version__}, no CUDA: {why}", advice=advice)


def _faiss() -> Check:
    from vlrlt.index.vectors.faiss_base import load_faiss

    faiss = load_faiss()
    build = "GPU build" if hasattr(faiss, "StandardGpuResources") else "CPU build"
    return Check(name="faiss", verdict="ok", found=f"{faiss.__version__}, {build}")


def _ffmpeg() -> Check:
    av = importlib.import_module("av")
    return _at_least("ffmpeg", av.ffmpeg_version_info, _SAFE_FFMPEG, f"in av {av.__version__}", "pip install -U av")


def _sqlite() -> Check:
    apsw = importlib.import_module("apsw")
    return _at_least("sqlite", apsw.sqlite_lib_version(), _SAFE_SQLITE, "in apsw", "pip install -U apsw")


def _at_least(name: str, version: str, safe: tuple[int, ...], where: str, advice: str) -> Check:
    found = f"{version} {where}"
    if tuple(int(part) for part in re.findall(r"\d+", version)[:3]) >= safe:
        return Check(name=name, verdict="ok", found=found)
    since = ".".join(map(str, safe))
    return Check(name=name, verdict="warning", found=f"{found} has a known hole, fixed in {since}", advice=advice)


def _decord() -> Check:
    decord = importlib.import_module("decord")
    return Check(name="decord", verdict="ok", found=decord.__version__)


def _open_clip() -> Check:
    open_clip = importlib.import_module("open_clip")
    return Check(name="open_clip", verdict="ok", found=open_clip.__version__)


def _default_model() -> Check:
    from vlrlt.embed import DEFAULT_MODEL_DIR, load_embedder

    embedder = load_embedder(device="cpu")
    return Check(name="default_model", verdict="ok", found=f"{embedder.fingerprint[:12]} in {DEFAULT_MODEL_DIR}")


def _free_disk() -> Check:
    here = Path.cwd()
    free_bytes = shutil.disk_usage(here).free
    found = f"{free_bytes / 1e9:.1f} GB at {here}"
    if free_bytes < _FREE_BYTES:
        return Check(name="free_disk", verdict="warning", found=found, advice="an hour of video needs about 1 MB")
    return Check(name="free_disk", verdict="ok", found=found)
