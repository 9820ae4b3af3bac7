"""The models of vlrlt as embedders, and any embedder by its name.

Shape legend: B clips or texts, T frames, H = W image size, C = 3, D embedding.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import torch

from vlrlt.embedder import DEFAULT_MODEL, DEFAULT_MODEL_DIR, EmbedderSettings, EmbedsVideos
from vlrlt.errors import CheckpointError, ConfigError
from vlrlt.models.adapt import with_num_frames
from vlrlt.models.checkpoint import fingerprint, load_checkpoint, read_captions
from vlrlt.models.dual_encoder import DualEncoder, InferenceConfig
from vlrlt.models.text_onnx import export_text
from vlrlt.models.weights import check_finite
from vlrlt.plug_in import PluggedEmbedder, check_trusted, is_plug_in, load_plug_in, split_name
from vlrlt.tokens.run_length import TokenPolicy
from vlrlt.types import (
    BoolArray,
    ClipEmbeddings,
    Float32Array,
    Precision,
    PrecisionChoice,
    UInt8Array,
    join_embeddings,
)
from vlrlt.video.sampling import Sampling

if TYPE_CHECKING:
    from torch import Tensor


_CPU_TOKENS = 8_192
"""Dense tokens that a CPU encodes at once: 25,000 take a third longer, by the token, than half of this many."""


class DualEncoderEmbedder(EmbedsVideos):
    """A dual encoder on one device, in inference.

    Args:
        model: video encoder and text tower.
        name: for people.
        device: where it runs.
        precision: what the video encoder computes in; outputs and the text tower are float32.
        captions: that it was trained on, where those are all that it understands.

    Raises:
        CheckpointError: weights are not finite numbers.
    """

    def __init__(
        self,
        model: DualEncoder,
        *,
        name: str,
        device: torch.device,
        precision: Precision = "float32",
        captions: tuple[str, ...] = (),
    ) -> None:
        check_finite(model, source=name)
        self.name = name
        self.captions = captions
        self.precision = precision
        self.fingerprint = fingerprint(model, precision=precision)
        self.embed_dim = model.video_config.embed_dim
        self.sampling = model.inference.sampling
        self.preprocess = model.inference.preprocess
        self.policy = model.inference.policy
        self.patch_size_px = model.video_config.patch_size_px
        self._model = model.to(device).eval()
        if precision == "bfloat16":  # autocast would cast them anew for every batch
            for layer in self._model.video.modules():
                if isinstance(layer, torch.nn.Linear):
                    layer.bfloat16()
        self._device = device
        if device.type == "cuda":  # TF32 has 10 bits; what is to be float32 stays so
            torch.set_float32_matmul_precision("highest")

    @torch.inference_mode()
    def embed_clips(self, rgb_BTHWC: UInt8Array, *, policy: TokenPolicy | None = None) -> ClipEmbeddings:
        """Unit vectors of preprocessed clips; an image is a clip with T = 1.

        A policy is used instead of the model's own, to compare; such vectors do not belong into a library.
        """
        video = self._model.video
        rgb = self._on_device(rgb_BTHWC)
        if rgb.shape[1] == 1 and video.config.regime == "joint":
            rgb = rgb.expand(-1, self.sampling.num_frames, -1, -1, -1)
        num_steps, num_patches = rgb.shape[1] // video.config.tubelet_size, video.config.grid_size**2
        num_clips = max(1, _CPU_TOKENS // max(1, num_steps * num_patches))
        if self._device.type == "cpu" and len(rgb) > num_clips:
            parts = np.split(rgb_BTHWC, range(num_clips, len(rgb), num_clips))
            return join_embeddings([self.embed_clips(part, policy=policy) for part in parts])
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            features = video(rgb, policy or self.policy)
        outputs_BSE, changed_BS = features.steps_BSE, features.num_tokens_BS / num_patches
        changed_BS[:, 0] = changed_BS[:, min(1, num_steps - 1)]  # the first step is always kept
        if outputs_BSE is None:
            changed_BS = changed_BS.mean(1, keepdim=True)
        return ClipEmbeddings(
            vectors_BD=_unit(features.clip_BE),
            num_tokens_B=features.num_tokens_B.cpu().numpy(),
            num_dense_tokens=num_steps * num_patches,
            outputs_BSD=None if outputs_BSE is None else _unit(outputs_BSE),
            changed_BS=_to_numpy(changed_BS),
        )

    def keep_mask(self, rgb_BTHWC: UInt8Array) -> BoolArray:
        """(B, S, h, w): which tokens of preprocessed clips are encoded."""
        return self._model.video.keep_mask(self._on_device(rgb_BTHWC), self.policy).cpu().numpy()

    def _on_device(self, rgb_BTHWC: UInt8Array) -> "Tensor":
        """Frames reach a GPU from pinned memory while it computes; PyTorch keeps the buffers for the next batch."""
        rgb = torch.from_numpy(rgb_BTHWC)
        if self._device.type == "cuda":
            return rgb.pin_memory().to(self._device, non_blocking=True)
        return rgb.to(self._device)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Float32Array:
        """Unit vectors of texts."""
        if not texts:
            return np.zeros((0, self.embed_dim), np.float32)
        return _finite(_to_numpy(self._model.encode_text(self._model.text.tokenize(texts).to(self._device))))

    def export_text(self, path: Path) -> None:
        """Write the text tower as a file that search can use without torch; raises as text_onnx.export_text."""
        export_text(self._model, path, captions=self.captions)


def load_embedder(
    model: str = DEFAULT_MODEL,
    *,
    device: str = "auto",
    policy: TokenPolicy | None = None,
    sampling: Sampling | None = None,
    num_frames: int | None = None,
    precision: PrecisionChoice = "auto",
    recorded: bool = False,
) -> DualEncoderEmbedder | PluggedEmbedder:
    """Load a model by name.

    Args:
        model: 'default', a checkpoint folder, an open_clip name (ARCH/PRETRAINED or ARCH/FILE.safetensors), an image
            tower of timm alone (timm/ARCH[.TAG] or timm/ARCH/FILE.safetensors), which cannot read text; or somebody
            else's code (PACKAGE.MODULE:FACTORY, an entry point of vlrlt.embedders), which is run, or the URL of a
            server (http://HOST/v1?model=NAME), to which frames are sent.
        device: 'auto' takes CUDA, then Apple's MPS, then the CPU; or a torch device name such as 'cuda:1'.
        policy: instead of the model's own token policy.
        sampling: instead of the model's own way to look at videos.
        num_frames: of a clip, instead of that of the sampling; a joint encoder that was trained with fewer gets its
            temporal embedding interpolated.
        precision: of the video encoder; see find_precision for 'auto'.
        recorded: the name comes from a library and was typed by nobody: it runs no code that the operator has not
            listed in VLRLT_TRUSTED_MODELS.

    Raises:
        CheckpointError: the model cannot be loaded.
        ConfigError: no such device or precision here, the model cannot take that number of frames, or a recorded name
            would run code.
    """
    folder = DEFAULT_MODEL_DIR if model == DEFAULT_MODEL else Path(model)
    if model != DEFAULT_MODEL and not folder.is_dir() and is_plug_in(model):
        if recorded:
            check_trusted(model)
        settings = EmbedderSettings(
            name=model,
            options=split_name(model)[1],
            device=device,
            precision=precision,
            policy=policy,
            sampling=sampling,
        )
        return _with_frames(load_plug_in(settings), settings, num_frames)
    dual = _load_dual_encoder(model, folder)
    inference: InferenceConfig = dual.inference
    chosen = sampling or inference.sampling
    chosen = replace(chosen, num_frames=num_frames or chosen.num_frames)
    dual.inference = replace(inference, policy=policy or inference.policy, sampling=chosen)
    if dual.video_config.regime == "joint" and chosen.num_frames > dual.video_config.num_frames:
        dual.video = with_num_frames(dual.video, chosen.num_frames)
    place = find_device(device)
    return DualEncoderEmbedder(
        dual,
        name=model,
        device=place,
        precision=find_precision(precision, place),
        captions=read_captions(folder),
    )


def _load_dual_encoder(model: str, folder: Path) -> DualEncoder:
    if model == DEFAULT_MODEL or folder.is_dir():
        return load_checkpoint(folder)
    if model.startswith("timm/"):
        from vlrlt.models.timm_tower import load_timm  # timm takes seconds to import

        return load_timm(model)
    from vlrlt.models.open_clip import load_open_clip  # open_clip takes seconds to import

    return load_open_clip(model)


def _with_frames(embedder: PluggedEmbedder, settings: EmbedderSettings, num_frames: int | None) -> PluggedEmbedder:
    """The same for clips of so many frames; how it looks at videos otherwise it alone can say."""
    if num_frames in (None, embedder.sampling.num_frames):
        return embedder
    return load_plug_in(replace(settings, sampling=replace(embedder.sampling, num_frames=num_frames)))


def find_device(device: str) -> torch.device:
    """The device of a name; 'auto' takes CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: no such device here.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:  # torch has one for each kind of device
        reason = str(error).splitlines()[0].split(". ")[0]
        raise ConfigError(f"device {device!r} is not available: {reason}; try --device cpu") from error
    return torch.device(device)


def find_precision(precision: PrecisionChoice, device: torch.device) -> Precision:
    """The precision of a name; 'auto' takes bfloat16 on CUDA and on CPUs that multiply its matrices (AMX).

    Raises:
        ConfigError: there is no such precision.
    """
    if precision == "auto":
        tell: Callable[[], Mapping[str, object]] = getattr(torch.cpu, "get_capabilities", dict)  # not in all versions
        has_units = device.type == "cuda" or (device.type == "cpu" and bool(tell().get("amx_bf16")))
        return "bfloat16" if has_units else "float32"
    if precision not in get_args(Precision):
        allowed = ", ".join(get_args(PrecisionChoice))
        raise ConfigError(f"precision must be one of {allowed}, got {precision!r}; try auto")
    return precision


def _unit(vectors_BD: "Tensor") -> Float32Array:
    return _finite(_to_numpy(torch.nn.functional.normalize(vectors_BD.float(), dim=-1)))


def _finite(vectors_BD: Float32Array) -> Float32Array:
    """Vectors that can be searched: others would be indexed without a word and never found."""
    if not np.isfinite(vectors_BD).all():
        raise CheckpointError(
            "the model's vectors are not finite numbers: its weights are damaged, or too large for its precision"
        )
    return vectors_BD


def _to_numpy(values: "Tensor") -> Float32Array:
    return values.float().cpu().numpy()
