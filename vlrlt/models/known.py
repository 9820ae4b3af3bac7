"""open_clip models that suit an archive, with the figures of their publishers; none was measured here."""

from dataclasses import dataclass
from typing import Any, Literal

RECOMMENDED_MODEL = "PE-Core-B-16/meta"
"""For real videos: docs/decisions/0005-default-model.md says why."""

OPEN_CLIP = "https://github.com/mlfoundations/open_clip/blob/main/docs/openclip_retrieval_results.csv"
SIGLIP2 = "https://github.com/google-research/big_vision/blob/main/big_vision/configs/proj/image_text/README_siglip2.md"
PERCEPTION_ENCODER = "https://github.com/facebookresearch/perception_models#vision-language-benchmarks"


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """What is published about a model.

    Attributes:
        name: ARCH/PRETRAINED of open_clip.
        licence: of the weights, as the hub page or the publisher's repository states it.
        languages: that its queries may be in.
        num_parameters_M: millions, of both towers; four bytes each are downloaded.
        coco_recall: R@1 of MSCOCO captions to images, zero-shot; [0, 1].
        msrvtt_recall: R@1 of MSR-VTT captions to videos, zero-shot; None: the source does not say.
        source: where the recalls are published. Protocols of different sources may differ in detail.
        revision: commit of the hub repository; None: the first download decides, and the lock file keeps it.
    """

    name: str
    licence: str
    languages: Literal["English", "many"]
    num_parameters_M: float
    coco_recall: float
    msrvtt_recall: float | None = None
    source: str
    revision: str | None = None

    @property
    def download_MB(self) -> int:
        """Size of the weights file in 10^6 bytes."""
        return round(4 * self.num_parameters_M)

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape of one model of `vlrlt models list --json`."""
        return {**vars(self), "download_MB": self.download_MB, "recommended": self.name == RECOMMENDED_MODEL}


KNOWN_MODELS = (
    KnownModel(
        name="PE-Core-B-16/meta",
        licence="Apache-2.0",
        languages="English",
        num_parameters_M=447.66,
        coco_recall=0.509,
        msrvtt_recall=0.476,
        source=PERCEPTION_ENCODER,
    ),
    KnownModel(
        name="PE-Core-L-14-336/meta",
        licence="Apache-2.0",
        languages="English",
        num_parameters_M=671.14,
        coco_recall=0.571,
        msrvtt_recall=0.503,
        source=PERCEPTION_ENCODER,
    ),
    KnownModel(
        name="ViT-B-16-SigLIP2/webli",
        licence="Apache-2.0",
        languages="many",
        num_parameters_M=375.19,
        coco_recall=0.521,
        source=SIGLIP2,
    ),
    KnownModel(
        name="ViT-B-32-SigLIP2-256/webli",
        licence="Apache-2.0",
        languages="many",
        num_parameters_M=376.86,
        coco_recall=0.472,
        source=SIGLIP2,
    ),
    KnownModel(
        name="ViT-SO400M-14-SigLIP2/webli",
        licence="Apache-2.0",
        languages="many",
        num_parameters_M=1135.46,
        coco_recall=0.551,
        source=SIGLIP2,
    ),
    KnownModel(
        name="ViT-B-16/datacomp_xl_s13b_b90k",
        licence="MIT",
        languages="English",
        num_parameters_M=149.62,
        coco_recall=0.402,
        source=OPEN_CLIP,
    ),
    KnownModel(
        name="ViT-B-32/datacomp_xl_s13b_b90k",
        licence="MIT",
        languages="English",
        num_parameters_M=151.28,
        coco_recall=0.371,
        source=OPEN_CLIP,
    ),
    KnownModel(
        name="ViT-B-32/openai",
        licence="Apache-2.0",
        languages="English",
        num_parameters_M=151.28,
        coco_recall=0.304,
        source=OPEN_CLIP,
        revision="ab5b8ef490e86faa07d3523926b842c765de1de5",
    ),
)

_TXT = ("config.json", "model.bin", "tokenizer.json", "vocabulary.txt")
_JSON = ("config.json", "model.bin", "preprocessor_config.json", "tokenizer.json", "vocabulary.json")
SPEECH_MODELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "whisper/tiny": ("Systran/faster-whisper-tiny", _TXT),
    "whisper/base": ("Systran/faster-whisper-base", _TXT),
    "whisper/small": ("Systran/faster-whisper-small", _TXT),
    "whisper/medium": ("Systran/faster-whisper-medium", _TXT),
    "whisper/large-v3": ("Systran/faster-whisper-large-v3", _JSON),
    "whisper/large-v3-turbo": ("dropbox-dash/faster-whisper-large-v3-turbo", _JSON),
}
"""Name -> repository of the hub and its files; 99 languages, 75 MB to 3 GB. model.bin is no pickle."""
