"""timm's image towers alone, from files: their own vectors, no text; and the real ViT-Ti/16 on real frames."""

import json
import re
import socket
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from colour import write_colours
from hub_server import COMMIT, NEXT_COMMIT, local_hub

from vlrlt.embed import load_embedder
from vlrlt.errors import CheckpointError, ConfigError
from vlrlt.index.run.build import index_paths
from vlrlt.index.search.language import ClipQuery
from vlrlt.models.checkpoint import fingerprint, load_checkpoint, save_checkpoint
from vlrlt.models.hub import pull
from vlrlt.models.timm_tower import load_timm
from vlrlt.models.towers.tower import IMAGE_TOWER_SAMPLING
from vlrlt.service import Library
from vlrlt.tokens.run_length import DENSE
from vlrlt.types import ClipSpan
from vlrlt.video.decode import open_decoder

SHARED = Path(__file__).parents[2] / "shared"
REAL_WEIGHTS = SHARED / "weights" / "vit_tiny_patch16_224.safetensors"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = timm.create_model("test_vit")
    for parameter in model.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    return path


@torch.inference_mode()
def test_a_file_gives_timms_pooled_features(weights: Path) -> None:
    dual = load_timm(f"timm/test_vit.r160_in1k/{weights}")
    theirs = timm.create_model("test_vit", num_classes=0).eval()
    tensors = safetensors.torch.load_file(weights)
    theirs.load_state_dict({key: tensor for key, tensor in tensors.items() if not key.startswith("head.")})
    preprocess = dual.inference.preprocess
    data = timm.data.resolve_model_data_config(theirs)
    assert (preprocess.image_size_px, preprocess.interpolation) == (data["input_size"][1], data["interpolation"])
    assert (preprocess.mean, preprocess.std) == (data["mean"], data["std"])
    assert dual.inference.sampling == IMAGE_TOWER_SAMPLING
    frames = torch.randint(0, 256, (2, 160, 160, 3), dtype=torch.uint8)
    images = ((frames / 255 - torch.tensor(preprocess.mean)) / torch.tensor(preprocess.std)).permute(0, 3, 1, 2)
    torch.testing.assert_close(dual.video(frames[None], DENSE).steps_BSE[0], theirs(images), rtol=1e-5, atol=1e-5)


def test_clips_are_embedded_and_texts_are_refused(weights: Path) -> None:
    embedder = load_embedder(f"timm/test_vit/{weights}", device="cpu")
    clips = np.random.default_rng(0).integers(0, 256, (2, 8, 160, 160, 3), np.uint8)
    vectors_BD = embedder.embed_clips(clips).vectors_BD
    assert vectors_BD.shape == (2, embedder.embed_dim)
    np.testing.assert_allclose(np.linalg.norm(vectors_BD, axis=1), 1, atol=1e-5)
    with pytest.raises(
        ConfigError, match="only an image tower and cannot embed text; search with --clip or --image, or"
    ):
        embedder.embed_texts(["a dog"])


def test_a_library_without_words_is_searched_by_clips_and_pictures(weights: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    write_colours(film, [("red", 4), ("blue", 4)])
    embedder = load_embedder(f"timm/test_vit/{weights}", device="cpu")
    index_paths([film], library_dir=tmp_path / "library", embedder=embedder)
    with Library(tmp_path / "library", model=embedder) as service:
        hit = service.search(clips=ClipQuery(film, ClipSpan(0, 2))).hits[0]
        assert (hit.video, hit.confidence) == (str(film), None)
        with pytest.raises(ConfigError, match="cannot embed text; search with --clip or --image"):
            service.search("red")


def test_a_checkpoint_without_text_is_saved_and_loaded(weights: Path, tmp_path: Path) -> None:
    dual = load_timm(f"timm/test_vit/{weights}")
    save_checkpoint(dual, tmp_path / "model")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["text"]["kind"] == "none"
    assert fingerprint(load_checkpoint(tmp_path / "model")) == fingerprint(dual)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/vit_of_nobody", "timm has no model 'vit_of_nobody'; give timm/ARCH.TAG such as timm/vit_base_patch16"),
        ("timm/", "timm has no model ''; "),
        ("timm/test_vit/absent.safetensors", "absent.safetensors: no such .safetensors file; give timm/test_vit/FILE"),
        ("timm/test_vit/README.md", "README.md: no such .safetensors file"),
        (
            "timm/test_vit.nope",
            "cannot load timm/test_vit.nope: RuntimeError: Invalid pretrained tag (nope) for test_vit",
        ),
        ("timm/resnet18", "timm/resnet18: the image tower is a ResNet; supported are open_clip's VisionTransformer ("),
        ("timm/vit_small_patch14_reg4_dinov2", "the image tower has register tokens; supported are"),
        (
            "timm/vit_tiny_patch16_224.augreg_in21k",
            "timm/vit_tiny_patch16_224.augreg_in21k/model.safetensors is not in ",
        ),
    ],
)
def test_names_that_cannot_be_loaded_are_explained_without_the_network(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: socket.socket, address: object) -> None:
        raise AssertionError(f"no network in tests, not even {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=re.escape(message)) as info:
        load_timm(name, cache_dir=tmp_path)
    assert "\n" not in str(info.value)


def test_a_file_of_another_architecture_names_the_keys(weights: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"weights.safetensors: weights do not fit the architecture: missing blocks\.10\."
    ):
        load_timm(f"timm/vit_tiny_patch16_224/{weights}")


@pytest.mark.real_videos
@pytest.mark.skipif(not REAL_WEIGHTS.is_file(), reason=f"{REAL_WEIGHTS} is not here")
@torch.inference_mode()
def test_real_weights_on_real_frames_equal_timm() -> None:
    dual = load_timm(f"timm/vit_tiny_patch16_224/{REAL_WEIGHTS}")
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=0).eval()
    tensors = safetensors.torch.load_file(REAL_WEIGHTS)
    theirs.load_state_dict({key: tensor for key, tensor in tensors.items() if not key.startswith("head.")})
    path = min((SHARED / "videos").glob("*/*.mp4"), key=lambda path: path.stat().st_size)
    with open_decoder(path) as decoder:
        frames = [dual.inference.preprocess(frame.rgb_HWC) for frame in decoder.frames_at([0.0, 0.5, 1.0])]
    rgb = torch.from_numpy(np.stack(frames))
    expected_SE = theirs(((rgb / 255 - 0.5) / 0.5).permute(0, 3, 1, 2))
    torch.testing.assert_close(dual.video(rgb[None], DENSE).steps_BSE[0], expected_SE, rtol=1e-5, atol=1e-5)


NAME = "timm/test_vit.r160_in1k"


@torch.inference_mode()
def test_downloads_are_pinned_checked_and_then_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of open_clip: timm's own download takes whatever the hub has today."""
    torch.manual_seed(0)
    theirs = timm.create_model("test_vit")
    files = {"model.safetensors": safetensors.torch.save(theirs.state_dict())}
    cache = tmp_path / "hub"
    with local_hub(files, monkeypatch, repository=NAME) as hub:
        locked = pull(NAME, cache_dir=cache)
        assert (locked.repository, locked.revision) == (NAME, COMMIT)
        hub.requests.clear()
        hub.commit = NEXT_COMMIT
        dual = load_timm(NAME, cache_dir=cache)
        assert hub.requests == [], "what is locked is not asked for"
        frames = torch.randint(0, 256, (1, 160, 160, 3), dtype=torch.uint8)
        mean, std = (torch.tensor(getattr(dual.inference.preprocess, name)) for name in ("mean", "std"))
        images = ((frames / 255 - mean) / std).permute(0, 3, 1, 2)
        expected = timm.create_model("test_vit", num_classes=0).eval()
        expected.load_state_dict({k: v for k, v in theirs.state_dict().items() if not k.startswith("head.")})
        got = dual.video(frames[None], DENSE).steps_BSE[0]
        torch.testing.assert_close(got, expected(images), rtol=1e-5, atol=1e-5)
        (weights,) = cache.rglob("model.safetensors")
        weights.resolve().write_bytes(files["model.safetensors"][:-1] + b"x")
        with pytest.raises(CheckpointError, match="was removed: pull again"):
            pull(NAME, cache_dir=cache)


def test_pickles_are_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with local_hub({"pytorch_model.bin": b"a pickle"}, monkeypatch, repository=NAME) as hub:
        with pytest.raises(CheckpointError, match=r"has no model\.safetensors; other formats are pickles"):
            load_timm(NAME, cache_dir=tmp_path)
        assert not [path for path in hub.requests if path.endswith(".bin")]
    for name in ("timm/vit_base_patch16_224_nothing", "timm/test_vit.nope"):
        with pytest.raises(CheckpointError, match="the hub has no weights of timm/"):
            pull(name, cache_dir=tmp_path)
