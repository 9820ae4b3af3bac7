"""Model folders that are damaged or made to harm: one clear error before anything large is built or any code is run."""

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from colour import write_colours
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from towers import tiny_dual

from vlrlt.embed import load_embedder
from vlrlt.errors import CheckpointError
from vlrlt.index.run.build import index_paths
from vlrlt.models.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(tiny_dual(), tmp_path / "model")
    return tmp_path / "model"


def change(folder: Path, part: str, name: str, value: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    config[part][name] = value
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("video", "depth", 10**6),
        ("video", "depth", 256),
        ("video", "width", 2**16),
        ("video", "mlp_width", 2**16),
        ("video", "embed_dim", 2**16),
        ("video", "image_size_px", 8192),
        ("video", "num_frames", 10**20),
        ("text", "vocab_size", 2**20),
        ("text", "context_length", 2**16),
        ("text", "depth", 10**9),
        ("sampling", "stride_s", 1e-6),
        ("sampling", "num_frames", 10**20),
        ("sampling", "clip_s", math.inf),
        ("preprocess", "image_size_px", 10**9),
        ("preprocess", "mean", [math.nan, 0.5, 0.5]),
        ("video", "patch_size_px", False),
        ("video", "num_heads", False),
        ("video", "tubelet_size", True),
        ("video", "norm_epsilon", True),
        ("video", "patch_bias", 1),
        ("text", "depth", True),
        ("sampling", "num_frames", True),
        ("sampling", "num_frames", 4.0),
        ("token_policy", "seed", 0.5),
    ],
)
def test_sizes_beyond_the_weights_are_refused_at_once(folder: Path, part: str, name: str, value: object) -> None:
    """A depth of a million layers was built for ever; a stride of a microsecond never came to an end."""
    change(folder, part, name, value)
    started_s = time.process_time()
    with pytest.raises(CheckpointError):
        load_checkpoint(folder)
    assert time.process_time() - started_s < 10


def spoil(folder: Path, value: float) -> None:
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    name = next(name for name, tensor in weights.items() if name.startswith("video.") and tensor.dim() == 2)
    weights[name][0, 0] = value
    safetensors.torch.save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_refused(folder: Path, value: float) -> None:
    """They indexed without a word, and nothing was ever found."""
    spoil(folder, value)
    with pytest.raises(CheckpointError, match=r"weights that are not finite numbers in video\."):
        load_embedder(str(folder), device="cpu")


def test_vectors_that_are_no_numbers_end_the_run(folder: Path, tmp_path: Path, library_dir: Path) -> None:
    """Weights may be numbers and still too large for what is computed with them."""
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    large = {
        name: torch.full_like(tensor, 3e38) if name.startswith("video.") else tensor for name, tensor in weights.items()
    }
    safetensors.torch.save_file(large, folder / "model.safetensors")
    embedder = load_embedder(str(folder), device="cpu")
    with pytest.raises(CheckpointError, match="vectors are not finite numbers"):
        embedder.embed_clips(np.full((1, 4, 16, 16, 3), 200, np.uint8))
    write_colours(tmp_path / "archive" / "a.mp4", [("red", 3)])
    with pytest.raises(CheckpointError, match="vectors are not finite numbers"):
        index_paths([tmp_path / "archive"], library_dir=library_dir, embedder=embedder)


JSON = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.lists(st.integers(0, 3), max_size=3)
)
FIELDS = [
    (part, name)
    for part in ("video", "text", "preprocess", "sampling", "token_policy")
    for name in json.loads(
        json.dumps(
            {
                "video": list(vars(tiny_dual().video.config)),
                "text": ["kind", *vars(tiny_dual().text.config)],
                "preprocess": ["image_size_px", "interpolation", "resize_mode", "mean", "std"],
                "sampling": ["clip_s", "stride_s", "num_frames"],
                "token_policy": list(vars(tiny_dual().inference.policy)),
            }
        )
    )[part]
]


def try_field(folder: Path, field: tuple[str, str], value: object) -> None:
    change(folder, *field, value)
    started_s = time.process_time()
    try:
        load_checkpoint(folder)
    except CheckpointError:
        pass
    finally:
        change(folder, *field, ORIGINAL[field[0]][field[1]])
    assert time.process_time() - started_s < 10


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzzed")
    save_checkpoint(tiny_dual(), folder)
    ORIGINAL.update(json.loads((folder / "config.json").read_text()))
    return folder


ORIGINAL: dict[str, Any] = {}


@given(field=st.sampled_from(FIELDS), value=JSON)
@example(field=("video", "patch_size_px"), value=False)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_in_a_config_is_taken_or_refused(field: tuple[str, str], value: object, fuzzed: Path) -> None:
    try_field(fuzzed, field, value)


@pytest.mark.attack
@given(field=st.sampled_from(FIELDS), value=JSON)
@settings(max_examples=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_very_many_values_in_a_config(field: tuple[str, str], value: object, fuzzed: Path) -> None:
    try_field(fuzzed, field, value)


def test_a_text_folder_with_code_of_its_own_runs_none(tmp_path: Path) -> None:
    """transformers asked at the terminal whether to run it."""
    transformers = pytest.importorskip("transformers", reason="needs pip install 'vlrlt[hf]'")
    from vlrlt.models.huggingface import HuggingFaceText, HuggingFaceTextConfig

    folder = tmp_path / "text"
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=10, intermediate_size=8
    )
    transformers.BertModel(config).save_pretrained(folder)
    said = json.loads((folder / "config.json").read_text())
    said |= {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.EvilConfig", "AutoModel": "evil.EvilModel", "AutoTokenizer": ["evil.E", None]},
    }
    (folder / "config.json").write_text(json.dumps(said))
    (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["evil.E", None]}}))
    (folder / "evil.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass EvilConfig: ...\nclass EvilModel: ...\nclass E: ...\n"
    )
    tower = HuggingFaceTextConfig(embed_dim=8)
    with pytest.raises(CheckpointError):
        HuggingFaceText.from_pretrained(str(folder), tower)
    with pytest.raises(CheckpointError):
        HuggingFaceText.from_files(folder, tower)
    assert not (tmp_path / "ran").exists()
