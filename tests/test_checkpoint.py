"""A model folder gives back the same model and fingerprint, and every damage to it is named in a CheckpointError."""

import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from towers import CAPTIONS, INFERENCE, TINY, TINY_RUN_OVERLAP, half_static_clips, tiny_dual

from vlrlt.errors import CheckpointError
from vlrlt.models.checkpoint import fingerprint, load_checkpoint, save_checkpoint
from vlrlt.models.dual_encoder import DualEncoder
from vlrlt.models.vocabulary import fit_vocabulary
from vlrlt.tokens.run_length import DENSE, TokenPolicy
from vlrlt.video.sampling import query_sampling

Config = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(tiny_dual(), tmp_path / "model")
    return tmp_path / "model"


def outputs(dual: DualEncoder) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.inference_mode():
        clips = torch.from_numpy(half_static_clips(2))
        return dual.encode_video(clips), dual.encode_text(dual.text.tokenize(CAPTIONS))


def edit_config(folder: Path, edit: Callable[[Config], object]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    edit(config)
    path.write_text(json.dumps(config))


def edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    edit(weights)
    safetensors.torch.save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize("video", [TINY, TINY_RUN_OVERLAP], ids=["joint", "run_overlap"])
def test_a_round_trip_gives_the_same_model(tmp_path: Path, video: Any) -> None:
    dual = tiny_dual(video)
    save_checkpoint(dual.train(), tmp_path)
    loaded = load_checkpoint(tmp_path)
    dual.eval()
    assert all(torch.equal(a, b) for a, b in zip(outputs(loaded), outputs(dual), strict=True))
    assert torch.equal(loaded.logit_scale, dual.logit_scale)
    assert (loaded.video_config, loaded.text.config, loaded.inference) == (video, dual.text.config, INFERENCE)
    assert not loaded.training
    assert fingerprint(loaded) == fingerprint(dual)
    files = ["captions.txt", "config.json", "model.safetensors", "tokenizer.model"]
    assert sorted(path.name for path in tmp_path.iterdir()) == files


def test_half_precision_halves_the_file_and_is_read_as_float32(tmp_path: Path) -> None:
    dual = tiny_dual()
    save_checkpoint(dual, tmp_path / "full")
    save_checkpoint(dual, tmp_path / "half", dtype=torch.float16)
    stored = safetensors.torch.load_file(tmp_path / "half" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    full_size, half_size = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half"))
    assert half_size < 0.65 * full_size

    loaded = load_checkpoint(tmp_path / "half")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    for actual, expected in zip(outputs(loaded), outputs(dual), strict=True):
        torch.testing.assert_close(actual, expected, rtol=0, atol=5e-3)
    save_checkpoint(loaded, tmp_path / "again", dtype=torch.float16)
    assert fingerprint(load_checkpoint(tmp_path / "again")) == fingerprint(loaded)


def test_whoever_may_read_the_config_may_read_the_weights(folder: Path) -> None:
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


def test_saving_replaces_an_older_checkpoint(folder: Path) -> None:
    other = tiny_dual(TINY_RUN_OVERLAP, seed=1)
    save_checkpoint(other, folder)
    assert fingerprint(load_checkpoint(folder)) == fingerprint(other)


def test_every_key_that_does_not_fit_is_named(folder: Path) -> None:
    def spoil(weights: dict[str, torch.Tensor]) -> None:
        del weights["video.projection"], weights["text.norm_post.bias"]
        weights["video.head.weight"] = torch.zeros(1)
        weights["video.position_embedding"] = torch.zeros(5, 16)

    edit_weights(folder, spoil)
    message = (
        f"{folder}: weights do not fit the architecture: missing text.norm_post.bias; missing video.projection; "
        f"unexpected video.head.weight; video.position_embedding has shape (5, 16) instead of (4, 16)"
    )
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "config.json: not JSON: "),
        (b'{"format_version": 1,', "config.json: not JSON: "),
        (b"\xff\xfe", "config.json: not JSON: "),
        (b"[1, 2]", "config.json: expected a JSON object, got list"),
        (b"{}", "format version None, this program reads 1; update vlrlt or export the model again"),
        (b'{"format_version": 1}', "config.json: KeyError('preprocess')"),
    ],
)
def test_a_damaged_config_is_named(folder: Path, content: bytes, message: str) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load_checkpoint(folder)


def test_a_newer_format_is_refused(folder: Path) -> None:
    edit_config(folder, lambda config: config.update(format_version=2))
    with pytest.raises(CheckpointError, match="format version 2, this program reads 1; update vlrlt"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("text", {"kind": "bert"}, "text tower must be one of sentencepiece, open_clip, huggingface, none, got 'bert'"),
        ("text", {"kind": "open_clip"}, "unexpected keyword argument"),
        ("text", {"vocab_size": 7}, "they come from different checkpoints"),
        ("text", {"embed_dim": 9}, "video and text must have the same embed_dim, got 8 and 9"),
        ("video", {"regime": "dense"}, "regime must be one of ('joint', 'run_overlap')"),
        ("video", {"heads": 3}, "unexpected keyword argument 'heads'"),
        ("video", {"depth": 1}, "unexpected video.blocks.1.attention.out.bias; "),
        ("video", {"width": 32}, "video.projection has shape (16, 8) instead of (32, 8)"),
        ("token_policy", {"kind": "rlt"}, "kind of a token policy must be one of threshold, budget, random, none"),
        ("sampling", {"clip_s": -1}, "clip_s must be 0.05 to 3600 seconds"),
        ("preprocess", {"interpolation": "nearest"}, "interpolation must be one of bicubic, bilinear, got 'nearest'"),
        ("preprocess", {"mean": 0.5}, "TypeError"),
    ],
)
def test_a_config_that_makes_no_sense_is_named(folder: Path, section: str, change: Config, message: str) -> None:
    edit_config(folder, lambda config: config[section].update(change))
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load_checkpoint(folder)


def leaves(config: Config, *above: str) -> Iterator[tuple[str, ...]]:
    for name, value in config.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from leaves(value, *above, name)


def test_no_value_of_a_config_can_raise_anything_else(folder: Path) -> None:
    """Whatever stands in a field, loading succeeds or says CheckpointError."""
    original = json.loads((folder / "config.json").read_text())
    refused = 0
    all_junk: tuple[object, ...] = (None, "x", -1, 0, 2.5, [], {}, True)
    for path in leaves(original):
        for junk in all_junk:
            config = json.loads(json.dumps(original))
            section = config
            for name in path[:-1]:
                section = section[name]
            section[path[-1]] = junk
            (folder / "config.json").write_text(json.dumps(config))
            try:
                load_checkpoint(folder)
            except CheckpointError:
                refused += 1
    assert refused > 150


def test_missing_files_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent/config.json: No such file or directory; a model folder holds"):
        load_checkpoint(tmp_path / "absent")
    (folder / "tokenizer.model").rename(tmp_path / "tokenizer.model")
    with pytest.raises(CheckpointError, match=r"model: cannot read tokenizer.model: No such file or directory"):
        load_checkpoint(folder)
    (tmp_path / "tokenizer.model").rename(folder / "tokenizer.model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model.safetensors: cannot read weights: .*No such file"):
        load_checkpoint(folder)


def test_a_tokenizer_of_another_checkpoint_is_named(folder: Path) -> None:
    (folder / "tokenizer.model").write_bytes(fit_vocabulary(["abc xyz"], vocab_size=60))
    with pytest.raises(CheckpointError, match="they come from different checkpoints"):
        load_checkpoint(folder)


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-100], lambda data: b"\xff" * 64 + data[64:]])
def test_damaged_weights_are_named(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"model.safetensors: cannot read weights: "):
        load_checkpoint(folder)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_nothing_is_ever_unpickled(folder: Path, tmp_path: Path) -> None:
    for name in ("model.safetensors", "tokenizer.model"):
        original = (folder / name).read_bytes()
        (folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
        with pytest.raises(CheckpointError):
            load_checkpoint(folder)
        (folder / name).write_bytes(original)
    assert not (tmp_path / "exploded").exists()
    load_checkpoint(folder)


def test_the_fingerprint_tells_all_that_shapes_a_vector() -> None:
    def changed(**inference: Any) -> DualEncoder:
        dual = tiny_dual()
        dual.inference = replace(dual.inference, **inference)
        return dual

    nudged = tiny_dual()
    nudged.video.get_parameter("blocks.0.mlp.0.bias").data[3] += 1e-6
    models = {
        "itself": tiny_dual(),
        "one weight": nudged,
        "other weights": tiny_dual(seed=1),
        "architecture": tiny_dual(TINY_RUN_OVERLAP),
        "activation": tiny_dual(replace(TINY, activation="quick_gelu")),
        "policy": changed(policy=DENSE),
        "threshold": changed(policy=TokenPolicy(threshold_255=3.1)),
        "sampling": changed(sampling=replace(query_sampling(INFERENCE.sampling), clip_s=3.0)),
        "preprocess": changed(preprocess=replace(INFERENCE.preprocess, resize_mode="squash")),
    }
    fingerprints = {name: fingerprint(model) for name, model in models.items()}
    assert len(set(fingerprints.values())) == len(models)
    assert fingerprints["itself"] == fingerprint(tiny_dual())
    assert all(re.fullmatch("[0-9a-f]{32}", value) for value in fingerprints.values())


def test_the_fingerprint_is_the_same_in_another_process(folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from vlrlt.models.checkpoint import fingerprint, load_checkpoint;"
        "print(fingerprint(load_checkpoint(Path(sys.argv[1]))))"
    )
    run = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == fingerprint(tiny_dual())
