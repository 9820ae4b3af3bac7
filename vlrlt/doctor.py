"""Check what this installation can do, with advice for everything else: `vlrlt doctor`."""

import importlib
import platform
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.filesize import decimal as format_bytes

from vlrlt.errors import MissingExtraError

Verdict = Literal["ok", "warning", "broken"]

_SAFE_FFMPEG = (8, 1, 2)
"""Older ones have the MagicYUV heap write, CVE-2026-8461."""
_SAFE_SQLITE = (3, 51, 3)
"""Older ones can corrupt a WAL database when the log is reset."""
_FREE_BYTES = 2 * 10**9
_DECODERS = ("h264", "hevc", "av1", "vp9", "vp8", "mpeg4", "mpeg2video", "prores", "mjpeg")
_HEAD_WIDTH = 64
"""Of nearly all vision transformers."""
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


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
    checks = (
        *(_python, _torch, _attention, _faiss, _ffmpeg, _codecs, _sqlite, _decord, _open_clip),
        *(_default_model, _model_cache, _free_disk),
    )
    return tuple(_guarded(check) for check in checks)


def _guarded(check: Callable[[], Check]) -> Check:
    """An import can fail in as many ways as there are packages; each is a finding, none may stop the others."""
    name = check.__name__.strip("_")
    verdict: Verdict = "warning" if check in (_decord, _open_clip, _model_cache) else "broken"
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
    elif _NVIDIA_DRIVER.exists():
        why = f"built for CUDA {torch.version.cuda}, but the NVIDIA driver that is loaded cannot be used"
        advice = f"see {_NVIDIA_DRIVER} and https://docs.nvidia.com/deploy/cuda-compatibility; update the driver"
    else:
        why = f"built for CUDA {torch.version.cuda}, but no NVIDIA driver is loaded"
        advice = "fine without a GPU; with one, nvidia-smi must list it (in a container: --gpus all)"
    return Check(name="torch", verdict="warning", found=f"{torch.__version__}, no CUDA: {why}", advice=advice)


def _attention() -> Check:
    """Which kernels the video encoder runs; on a GPU they are tried."""
    torch = importlib.import_module("torch")
    from vlrlt.models.kernels import PLAIN, frame_kernel, varlen_attention

    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cpu":
        kernel = frame_kernel(device, torch.float32, _HEAD_WIDTH)
        return Check(name="attention", verdict="ok", found=kernel.name)
    half, exact = (frame_kernel(device, dtype, _HEAD_WIDTH) for dtype in (torch.bfloat16, torch.float32))
    packed = varlen_attention(device, torch.bfloat16, _HEAD_WIDTH) is not None
    found = f"bfloat16 {half.name}, {'packed' if packed else 'padded'} clips; float32 {exact.name}"
    if half is PLAIN or exact is PLAIN or not packed:
        advice = "works, but slower than it could; update torch, or send in the output of: make test-gpu"
        return Check(name="attention", verdict="warning", found=found, advice=advice)
    return Check(name="attention", verdict="ok", found=found)


def _faiss() -> Check:
    from vlrlt.index.vectors.faiss_base import load_faiss

    faiss = load_faiss()
    build = f"GPU build, {faiss.get_num_gpus()} GPUs" if hasattr(faiss, "StandardGpuResources") else "CPU build"
    return Check(
        name="faiss", verdict="ok", found=f"{faiss.__version__}, {build}, {faiss.get_compile_options().strip()}"
    )


def _ffmpeg() -> Check:
    av = importlib.import_module("av")
    return _at_least("ffmpeg", av.ffmpeg_version_info, _SAFE_FFMPEG, f"in av {av.__version__}", "pip install -U av")


def _codecs() -> Check:
    """Decoders of what archives hold, and the encoder of previews."""
    codec = importlib.import_module("av.codec")
    missing = [name for name in _DECODERS if name not in codec.codecs_available]
    if "libx264" not in codec.codecs_available:
        missing.append("libx264 (encodes previews)")
    if missing:
        advice = "pip install --force-reinstall --only-binary av av: the wheels from PyPI have them"
        return Check(name="codecs", verdict="warning", found=f"missing: {', '.join(missing)}", advice=advice)
    return Check(name="codecs", verdict="ok", found=f"decodes {', '.join(_DECODERS)}; encodes h264")


def _sqlite() -> Check:
    apsw = importlib.import_module("apsw")
    return _at_least("sqlite", apsw.sqlite_lib_version(), _SAFE_SQLITE, "in apsw", "pip install -U apsw")


def _at_least(name: str, version: str, safe: tuple[int, ...], where: str, advice: str) -> Check:
    found = f"{version} {where}"
    if tuple(int(part) for part in re.findall(r"\d+", version)[:3]) >= safe:
        return Check(name=name, verdict="ok", found=found)
    since = ".".join(map(str, safe))
    return Check(name=name, verdict="warning", found=f"{found} has a known defect, fixed in {since}", advice=advice)


def _decord() -> Check:
    decord = importlib.import_module("decord")
    return Check(name="decord", verdict="ok", found=decord.__version__)


def _open_clip() -> Check:
    open_clip = importlib.import_module("open_clip")
    return Check(name="open_clip", verdict="ok", found=open_clip.__version__)


def _default_model() -> Check:
    from vlrlt.embed import load_embedder
    from vlrlt.embedder import DEFAULT_MODEL_DIR

    embedder = load_embedder(device="cpu")
    return Check(name="default_model", verdict="ok", found=f"{embedder.fingerprint[:12]} in {DEFAULT_MODEL_DIR}")


def _model_cache() -> Check:
    from vlrlt.models.hub import hub_cache, locked_models

    locked = locked_models()
    offline = ", HF_HUB_OFFLINE is set" if importlib.import_module("huggingface_hub").constants.HF_HUB_OFFLINE else ""
    if not locked:
        advice = "for real videos: vlrlt models list, then vlrlt models pull"
        found = f"no pulled model in {hub_cache()}{offline}"
        return Check(name="model_cache", verdict="warning", found=found, advice=advice)
    names = ", ".join(model.repository for model in locked)
    return Check(name="model_cache", verdict="ok", found=f"{names} in {hub_cache()}{offline}")


def _free_disk() -> Check:
    here = Path.cwd()
    free_bytes = shutil.disk_usage(here).free
    found = f"{format_bytes(free_bytes)} at {here}"
    if free_bytes < _FREE_BYTES:
        return Check(name="free_disk", verdict="warning", found=found, advice="an hour of video needs about 1 MB")
    return Check(name="free_disk", verdict="ok", found=found)
