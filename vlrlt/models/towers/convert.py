"""From an image tower of any supported family to a run-length video encoder."""

from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer as OpenClipVisionTransformer
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer
from torch import nn

from vlrlt.errors import CheckpointError
from vlrlt.models.towers import open_clip_vit, timm_eva, timm_vit
from vlrlt.models.towers.tower import SUPPORTED, Tower
from vlrlt.models.video_encoder import VideoEncoder
from vlrlt.models.weights import load_weights
from vlrlt.video.transforms import Preprocess


def read_tower(visual: nn.Module, *, name: str) -> Tower:
    """Find the adapter of an image tower, whose weights may be on the meta device.

    Args:
        visual: open_clip's VisionTransformer or TimmModel, or a timm model without one around it.
        name: for messages.

    Raises:
        CheckpointError: the tower is of no supported family, or has a part that the video encoder lacks.
    """
    if type(visual) is OpenClipVisionTransformer:
        return open_clip_vit.read(visual, name=name)
    trunk, head = _trunk_and_head(visual)
    if type(trunk) is TimmVisionTransformer:
        return timm_vit.read(trunk, head, name=name)
    if type(trunk) is Eva:
        return timm_eva.read(trunk, head, name=name)
    raise CheckpointError(f"{name}: the image tower is a {type(trunk).__name__}; {SUPPORTED}")


def convert_tower(visual: nn.Module, *, name: str, preprocess: Preprocess) -> VideoEncoder:
    """A video encoder that gives every frame the vector that the image tower gives it.

    Args:
        visual: as for `read_tower`; it is left as it is.
        name: for messages.
        preprocess: how frames reach the tower; the encoder takes mean and std from it.

    Raises:
        CheckpointError: as for `read_tower`; or the tower has weights that the video encoder has no place for, or takes
            images of another size.
    """
    tower = read_tower(visual, name=name)
    if preprocess.image_size_px != tower.config.image_size_px:
        raise CheckpointError(
            f"{name}: images are prepared at {preprocess.image_size_px} px, "
            f"the tower takes {tower.config.image_size_px} px"
        )
    video = VideoEncoder(tower.config, mean=preprocess.mean, std=preprocess.std)
    load_weights(video, tower.weights(), source=name)
    return video


def _trunk_and_head(visual: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Timm's model, and what comes after its pooling: an Identity, a linear layer, or a sequence of more than that."""
    if not isinstance(visual, TimmModel):
        return visual, getattr(visual, "head", nn.Identity())
    modules = (getattr(visual.trunk, "head", nn.Identity()), *visual.head.children())
    layers = [module for module in modules if not isinstance(module, nn.Identity | nn.Dropout)]
    if len(layers) > 1:
        return visual.trunk, nn.Sequential(*layers)
    return visual.trunk, layers[0] if layers else nn.Identity()
