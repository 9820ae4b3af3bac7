"""An embedder gives the unit vectors of its model, and its fingerprint follows every override."""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from colour import write_colours
from towers import CAPTIONS, INFERENCE, SIZE_PX, TINY, TINY_RUN_OVERLAP, half_static_clips, tiny_dual

from vlrlt import embed
from vlrlt.embed import DualEncoderEmbedder, load_embedder
from vlrlt.embedder import Embedder
from vlrlt.errors import CheckpointError, ConfigError
from vlrlt.index.run.build import index_paths
from vlrlt.models.checkpoint import fingerprint, save_checkpoint
from vlrlt.models.config import VideoEncoderConfig
from vlrlt.models.text_onnx import OnnxText
from vlrlt.service import Library
from vlrlt.tokens.run_length import DENSE, TokenPolicy
from vlrlt.video.sampling import MotionSampling

NUM_DENSE_TOKENS = {"joint": 8, "run_overlap": 16}
Load = Callable[..., DualEncoderEmbedder]


@pytest.fixture(params=[TINY, TINY_RUN_OVERLAP], ids=["joint", "run_overlap"])
def video(request: pytest.FixtureRequest) -> VideoEncoderConfig:
    config: VideoEncoderConfig = request.param
    return config


@pytest.fixture
def load(video: VideoEncoderConfig, tmp_path: Path) -> Load:
    save_checkpoint(tiny_dual(video), tmp_path)

    def load(**overrides: Any) -> DualEncoderEmbedder:
        embedder = load_embedder(str(tmp_path), **{"device": "cpu", "precision": "float32"} | overrides)
        assert isinstance(embedder, DualEncoderEmbedder)
        return embedder

    return load


def test_a_folder_is_loaded_with_what_was_stored(load: Load, video: VideoEncoderConfig, tmp_path: Path) -> None:
    embedder: Embedder = load()
    assert embedder.name == str(tmp_path)
    assert embedder.fingerprint == fingerprint(tiny_dual(video))
    assert embedder.embed_dim == 8
    assert (embedder.sampling, embedder.preprocess) == (INFERENCE.sampling, INFERENCE.preprocess)


def test_the_default_model_is_the_folder_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "DEFAULT_MODEL_DIR", tmp_path / "package")
    save_checkpoint(tiny_dual(seed=1), tmp_path / "default")  # of that name where the program runs: does not count
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=re.escape(f"{tmp_path}/package/config.json: No such file or directory")):
        load_embedder()
    save_checkpoint(tiny_dual(), tmp_path / "package")
    embedder = load_embedder(device="cpu")
    assert embedder.name == "default"
    assert embedder.fingerprint == fingerprint(tiny_dual(), precision=embedder.precision)


def test_bfloat16_gives_nearly_the_same_vectors(load: Load) -> None:
    clips = half_static_clips(3)
    exact, fast = load().embed_clips(clips), load(precision="bfloat16").embed_clips(clips)
    assert fast.vectors_BD.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(fast.vectors_BD, axis=1), 1, rtol=1e-5)
    assert (exact.vectors_BD * fast.vectors_BD).sum(-1).min() > 0.999
    assert (exact.vectors_BD != fast.vectors_BD).any(), "it was computed in bfloat16"
    np.testing.assert_array_equal(exact.num_tokens_B, fast.num_tokens_B)
    np.testing.assert_array_equal(load().embed_texts(CAPTIONS), load(precision="bfloat16").embed_texts(CAPTIONS))


def test_a_precision_is_part_of_what_vectors_are_compared_by(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(precision="bfloat16").fingerprint != load().fingerprint
    for has_units, precision in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has_units=has_units: {"amx_bf16": has_units})
        assert load(precision="auto").precision == precision
    with pytest.raises(ConfigError, match="precision must be one of auto, float32, bfloat16, got 'float16'; try auto"):
        load(precision="float16")


def test_a_cpu_encodes_large_batches_in_parts(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = half_static_clips(5)
    whole = load().embed_clips(clips)
    monkeypatch.setattr(embed, "_CPU_TOKENS", 2 * whole.num_dense_tokens)
    parts = load().embed_clips(clips)
    np.testing.assert_allclose(parts.vectors_BD, whole.vectors_BD, atol=1e-6)
    assert parts.num_tokens_B.tolist() == whole.num_tokens_B.tolist()
    assert whole.changed_BS is not None
    np.testing.assert_array_equal(parts.changed_BS, whole.changed_BS)
    if whole.outputs_BSD is not None and parts.outputs_BSD is not None:
        np.testing.assert_allclose(parts.outputs_BSD, whole.outputs_BSD, atol=1e-6)


def test_a_picture_is_one_look_of_an_image_tower_and_a_still_clip_of_a_joint_model(
    load: Load, video: VideoEncoderConfig
) -> None:
    picture = half_static_clips(1)[:, :1]
    embeddings, still = load().embed_clips(picture), load().embed_clips(np.repeat(picture, 4, axis=1))
    assert np.array_equal(embeddings.vectors_BD, still.vectors_BD)
    assert embeddings.num_tokens_B.tolist() == still.num_tokens_B.tolist() == [4]
    assert embeddings.num_dense_tokens == {"joint": 8, "run_overlap": 4}[video.regime]
    if embeddings.outputs_BSD is not None:
        assert embeddings.outputs_BSD.shape[1] == {"joint": 2, "run_overlap": 1}[video.regime]


def test_a_video_of_one_look_is_indexed(tmp_path: Path) -> None:
    save_checkpoint(tiny_dual(TINY_RUN_OVERLAP), tmp_path / "model")
    embedder = load_embedder(str(tmp_path / "model"), device="cpu", sampling=MotionSampling())
    video = write_colours(tmp_path / "short.mp4", [("red", 1)])
    report = index_paths([video], library_dir=tmp_path / "library", embedder=embedder)
    assert (report.indexed, report.vectors, report.failed) == (1, 1, 0)


def test_clips_get_the_unit_vectors_of_the_model(load: Load, video: VideoEncoderConfig) -> None:
    clips = half_static_clips(3)
    embeddings = load().embed_clips(clips)
    dual = tiny_dual(video)
    with torch.no_grad():
        expected_BD = dual.encode_video(torch.from_numpy(clips)).numpy()
    assert embeddings.vectors_BD.dtype == np.float32
    assert embeddings.vectors_BD.shape == (3, 8)
    np.testing.assert_allclose(embeddings.vectors_BD, expected_BD, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(embeddings.vectors_BD, axis=1), 1, rtol=1e-5)
    assert embeddings.num_dense_tokens == NUM_DENSE_TOKENS[video.regime]
    half = NUM_DENSE_TOKENS[video.regime] // 2
    assert embeddings.num_tokens_B.tolist() == [half + 2] * 3  # the moving half, and the still half once
    assert embeddings.num_tokens_B.dtype == np.int64


def test_texts_get_unit_vectors(load: Load, video: VideoEncoderConfig) -> None:
    embedder, dual = load(), tiny_dual(video)
    vectors_BD = embedder.embed_texts(CAPTIONS)
    with torch.no_grad():
        expected_BD = dual.encode_text(dual.text.tokenize(CAPTIONS)).numpy()
    assert vectors_BD.dtype == np.float32
    np.testing.assert_allclose(vectors_BD, expected_BD, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors_BD, axis=1), 1, rtol=1e-5)


def test_no_texts_are_no_rows(load: Load) -> None:
    vectors_BD = load().embed_texts([])
    assert vectors_BD.shape == (0, 8)
    assert vectors_BD.dtype == np.float32


def test_an_override_of_the_policy_is_used_and_changes_the_fingerprint(load: Load, video: VideoEncoderConfig) -> None:
    own, dense, same = load(), load(policy=DENSE), load(policy=TokenPolicy(threshold_255=3.0))
    clips = half_static_clips(1)
    assert dense.embed_clips(clips).num_tokens_B.tolist() == [NUM_DENSE_TOKENS[video.regime]]
    assert own.embed_clips(clips).num_tokens_B[0] < NUM_DENSE_TOKENS[video.regime]
    assert dense.fingerprint != own.fingerprint == same.fingerprint


def test_an_override_of_the_sampling_is_used_and_changes_the_fingerprint(load: Load, video: VideoEncoderConfig) -> None:
    own, shorter = load(), load(sampling=replace(INFERENCE.sampling, num_frames=2))
    assert shorter.sampling.num_frames == 2
    assert shorter.fingerprint != own.fingerprint
    image = half_static_clips(1, num_frames=1)
    assert shorter.embed_clips(image).num_dense_tokens == 4  # of one step, and of one look


@pytest.mark.parametrize("device", ["teapot", "cuda:99", ""])
def test_a_device_that_is_not_here_is_named(device: str, tmp_path: Path) -> None:
    save_checkpoint(tiny_dual(), tmp_path)
    with pytest.raises(ConfigError, match=rf"^device '{device}' is not available: .*; try --device cpu$"):
        load_embedder(str(tmp_path), device=device)


def test_the_device_is_found_by_itself(tmp_path: Path) -> None:
    save_checkpoint(tiny_dual(), tmp_path)
    vectors_BD = load_embedder(str(tmp_path)).embed_texts(CAPTIONS)
    np.testing.assert_allclose(vectors_BD, load_embedder(str(tmp_path), device="cpu").embed_texts(CAPTIONS), atol=1e-3)


def test_frames_that_were_not_preprocessed_are_refused(load: Load) -> None:
    message = f"clips must be uint8 of shape (B, T, {SIZE_PX}, {SIZE_PX}, 3), got torch.uint8 (1, 4, 32, 32, 3)"
    with pytest.raises(ConfigError, match=re.escape(message)):
        load().embed_clips(half_static_clips(1, size_px=32))


def test_an_unknown_model_lists_what_can_be_given(tmp_path: Path) -> None:
    message = (
        f"'{tmp_path}/absent' is neither a model folder nor an open_clip name; give 'default', a folder with "
        f"config.json, ARCH/PRETRAINED such as ViT-B-16/datacomp_xl_s13b_b90k, or ARCH/FILE.safetensors"
    )
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load_embedder(f"{tmp_path}/absent", device="cpu")
    with pytest.raises(CheckpointError, match=re.escape(f"{tmp_path}/config.json: No such file or directory")):
        load_embedder(str(tmp_path), device="cpu")


def test_onnx_text_equals_torch(tmp_path: Path) -> None:
    """Texts of every length, one and many at a time."""
    embedder = load_embedder()
    assert isinstance(embedder, DualEncoderEmbedder)
    embedder.export_text(tmp_path / "text.onnx")
    onnx = OnnxText(tmp_path / "text.onnx")
    assert onnx.captions == embedder.captions
    texts = ["open fridge", "", "x", "pour the milk into the white cup, then put it down " * 3, *embedder.captions[:40]]
    np.testing.assert_allclose(onnx.embed(texts), embedder.embed_texts(texts), atol=1e-5)
    np.testing.assert_allclose(onnx.embed(texts[:1]), embedder.embed_texts(texts[:1]), atol=1e-5)


def test_the_second_search_needs_no_torch(tmp_path: Path) -> None:
    save_checkpoint(tiny_dual(), tmp_path / "model")
    write_colours(tmp_path / "a.mp4", [("red", 2), ("blue", 2)])
    library = tmp_path / "library"
    index_paths([tmp_path / "a.mp4"], library_dir=library, embedder=load_embedder(str(tmp_path / "model")))
    with Library(library) as service:
        expected = service.search("open the fridge", k=1).as_json()
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path; from vlrlt.service import Library\n"
        f"print(Library(Path({str(library)!r})).search('open the fridge', k=1).as_json()['hits'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(expected["hits"])
    (text,) = (library / "cache").glob("text-*.onnx")
    text.write_bytes(b"damaged")
    with Library(library) as service:
        assert service.search("open the fridge", k=1).as_json()["hits"] == expected["hits"]
    assert len(text.read_bytes()) > 1000, "a damaged copy is made again"
