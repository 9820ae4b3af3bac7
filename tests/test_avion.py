"""AVION checkpoints: the converted encoder equals AVION's forward pass, written down here from its description."""

import argparse
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from typer.testing import CliRunner

from vlrlt.cli import app
from vlrlt.errors import CheckpointError
from vlrlt.models.avion import convert_avion, load_avion
from vlrlt.models.checkpoint import load_checkpoint
from vlrlt.models.config import OpenClipTextConfig
from vlrlt.models.open_clip import build_open_clip_text
from vlrlt.tokens.run_length import DENSE

MEAN_255, STD_255 = (108.3272985, 116.7460125, 104.09373615000001), (68.5005327, 66.6321579, 70.32316305)
"""As AVION's scripts write them, e.g. scripts/main_lavila_finetune_mir.py line 236, for norm_style openai."""
WIDTH, DEPTH, PATCH, GRID, FRAMES, EMBED = 128, 2, 8, 2, 3, 24


def state_dict(*, flash: bool) -> dict[str, Tensor]:
    """Random weights in AVION's names: with its flash attention and linear patches, or without."""
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int, scale: float = 0.1) -> Tensor:
        return scale * torch.randn(*shape, generator=random)

    weights = {
        "visual.conv1.weight": draw(WIDTH, 3 * PATCH**2) if flash else draw(WIDTH, 3, PATCH, PATCH),
        "visual.class_embedding": draw(WIDTH),
        "visual.positional_embedding": draw(GRID**2 + 1, WIDTH),
        "visual.temporal_embedding": draw(FRAMES, WIDTH),
        "visual.image_projection": draw(WIDTH, EMBED),
        "logit_scale": torch.tensor(4.0),
    }
    for norm in ("ln_pre", "ln_post"):
        weights |= {f"visual.{norm}.weight": 1 + draw(WIDTH), f"visual.{norm}.bias": draw(WIDTH)}
    names = ("attn.Wqkv.", "mlp.fc1.", "mlp.fc2.") if flash else ("attn.in_proj_", "mlp.c_fc.", "mlp.c_proj.")
    for index in range(DEPTH):
        block = f"visual.transformer.resblocks.{index}."
        shapes = zip((*names, "attn.out_proj."), ((3, 1), (4, 1), (1, 4), (1, 1)), strict=True)
        for name, (rows, columns) in shapes:
            weights |= {
                f"{block}{name}weight": draw(rows * WIDTH, columns * WIDTH),
                f"{block}{name}bias": draw(rows * WIDTH),
            }
        for norm in ("ln_1", "ln_2"):
            weights |= {f"{block}{norm}.weight": 1 + draw(WIDTH), f"{block}{norm}.bias": draw(WIDTH)}
    text = build_open_clip_text(OpenClipTextConfig(architecture="ViT-B-16", embed_dim=EMBED)).model
    weights |= {f"textual.{name}": tensor for name, tensor in text.state_dict().items() if name != "logit_scale"}
    return weights


def avion_forward(weights: dict[str, Tensor], rgb_BTHWC: Tensor) -> Tensor:
    """Joint attention over CLS and all patches of all frames, exact GELU, epsilon 1e-6."""
    w = {name.removeprefix("visual."): tensor for name, tensor in weights.items()}
    pixels = (rgb_BTHWC - torch.tensor(MEAN_255)) / torch.tensor(STD_255)
    tokens = []
    for row in range(GRID):
        for column in range(GRID):
            patch = pixels[:, :, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]
            tokens.append(patch.permute(0, 1, 4, 2, 3).flatten(2) @ w["conv1.weight"].flatten(1).T)
    x = torch.stack(tokens, 2)  # clips, frames, patches, width
    x = x + w["positional_embedding"][1:] + w["temporal_embedding"][:, None]
    cls = (w["class_embedding"] + w["positional_embedding"][0]).expand(len(x), 1, -1)
    x = torch.cat([cls, x.flatten(1, 2)], 1)

    def norm(x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(x, (WIDTH,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)

    def either(*names: str) -> Tensor:
        return next(w[name] for name in names if name in w)

    x = norm(x, "ln_pre")
    for index in range(DEPTH):
        block = f"transformer.resblocks.{index}."
        qkv = norm(x, f"{block}ln_1") @ either(f"{block}attn.Wqkv.weight", f"{block}attn.in_proj_weight").T
        qkv = qkv + either(f"{block}attn.Wqkv.bias", f"{block}attn.in_proj_bias")
        q, k, v = (part.view(*part.shape[:-1], 2, 64).transpose(1, 2) for part in qkv.chunk(3, -1))
        attended = ((q @ k.transpose(-1, -2)) / math.sqrt(64)).softmax(-1) @ v
        x = x + attended.transpose(1, 2).flatten(2) @ w[f"{block}attn.out_proj.weight"].T
        x = x + w[f"{block}attn.out_proj.bias"]
        hidden = norm(x, f"{block}ln_2") @ either(f"{block}mlp.fc1.weight", f"{block}mlp.c_fc.weight").T
        hidden = functional.gelu(hidden + either(f"{block}mlp.fc1.bias", f"{block}mlp.c_fc.bias"))
        x = x + hidden @ either(f"{block}mlp.fc2.weight", f"{block}mlp.c_proj.weight").T
        x = x + either(f"{block}mlp.fc2.bias", f"{block}mlp.c_proj.bias")
    return norm(x[:, 0], "ln_post") @ w["image_projection"]


def avion_text(weights: dict[str, Tensor], ids_BL: Tensor, *, num_heads: int) -> Tensor:
    """Causal attention, exact GELU, epsilon 1e-5; the end-of-text token, which has the highest id, speaks for all."""
    w = {name.removeprefix("textual."): tensor for name, tensor in weights.items()}
    x = w["token_embedding.weight"][ids_BL] + w["positional_embedding"]
    width, length = x.shape[-1], ids_BL.shape[1]
    later = torch.ones(length, length, dtype=torch.bool).triu(1)

    def norm(x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(x, (width,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)

    def linear(x: Tensor, name: str, kind: str = ".") -> Tensor:
        return x @ w[f"{name}{kind}weight"].T + w[f"{name}{kind}bias"]

    for index in range(1 + max(int(name.split(".")[2]) for name in w if name.startswith("transformer."))):
        block = f"transformer.resblocks.{index}"
        parts = linear(norm(x, f"{block}.ln_1"), f"{block}.attn.in_proj", "_").chunk(3, -1)
        q, k, v = (part.view(*part.shape[:-1], num_heads, -1).transpose(1, 2) for part in parts)
        scores = (q @ k.transpose(-1, -2) / math.sqrt(width // num_heads)).masked_fill(later, -math.inf)
        x = x + linear((scores.softmax(-1) @ v).transpose(1, 2).flatten(2), f"{block}.attn.out_proj")
        x = x + linear(functional.gelu(linear(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")), f"{block}.mlp.c_proj")
    return norm(x, "ln_final")[torch.arange(len(x)), ids_BL.argmax(-1)] @ w["text_projection"]


@pytest.mark.parametrize("flash", [True, False])
def test_the_converted_encoder_equals_avion(flash: bool) -> None:
    weights = state_dict(flash=flash)
    dual = convert_avion(weights, source="test")
    clips = np.random.default_rng(0).integers(0, 256, (2, FRAMES, 16, 16, 3), np.uint8)
    rgb_BTHWC = torch.from_numpy(clips)
    with torch.inference_mode():
        ours_BE = dual.video(rgb_BTHWC, DENSE).clip_BE
        torch.testing.assert_close(ours_BE, avion_forward(weights, rgb_BTHWC), rtol=1e-4, atol=1e-4)
        ids_BL = dual.text.tokenize(["#C C opens the fridge", "wash"])
        assert ids_BL.shape == (2, 77)
        torch.testing.assert_close(dual.text(ids_BL), avion_text(weights, ids_BL, num_heads=8), rtol=1e-4, atol=1e-4)
    assert dual.logit_scale.item() == 4.0
    assert dual.inference.sampling.num_frames == FRAMES
    assert dual.inference.policy == DENSE  # as AVION trains


def save_as_avion(path: Path, *, numpy_core: str, **options: object) -> dict[str, Tensor]:
    """A file as AVION's save_on_master writes it: best_acc1 is a NumPy number, args all options of the script."""
    weights = {f"module.{name}": tensor for name, tensor in state_dict(flash=True).items()}
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))])
    content = {
        "epoch": 3, "state_dict": weights, "optimizer": optimizer.state_dict(),
        "scaler": torch.amp.GradScaler("cpu", enabled=False).state_dict(), "best_acc1": np.float64(0.331),
        "args": argparse.Namespace(lr=3e-5, betas=(0.9, 0.999), grad_clip_norm=None, use_flash_attn=True, **options),
    }  # fmt: skip
    torch.save(content, path)
    with zipfile.ZipFile(path) as archive:
        files = {item: archive.read(item) for item in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:  # a file that NumPy 1 wrote calls the module by its older name
        for item, data in files.items():
            renamed = data.replace(b"numpy._core.multiarray", f"{numpy_core}.multiarray".encode())
            archive.writestr(item, renamed if item.filename.endswith(".pkl") else data)
    return weights


@pytest.mark.parametrize("numpy_core", ["numpy.core", "numpy._core"])
def test_a_checkpoint_file_becomes_a_model_folder(tmp_path: Path, numpy_core: str) -> None:
    weights = save_as_avion(tmp_path / "avion.pt", numpy_core=numpy_core, norm_style="openai")
    result = CliRunner().invoke(app, ["convert", str(tmp_path / "avion.pt"), "--out", str(tmp_path / "model")])
    assert result.exit_code == 0, result.output
    model = load_checkpoint(tmp_path / "model")
    assert model.inference.policy == DENSE
    assert 255 * np.array(model.inference.preprocess.mean) == pytest.approx(MEAN_255)
    assert 255 * np.array(model.inference.preprocess.std) == pytest.approx(STD_255)
    assert torch.equal(
        model.text.state_dict()["model.token_embedding.weight"], weights["module.textual.token_embedding.weight"]
    )


def test_the_normalisation_is_that_of_the_run(tmp_path: Path) -> None:
    save_as_avion(tmp_path / "timm.pt", numpy_core="numpy._core", norm_style="timm")
    assert load_avion(tmp_path / "timm.pt").inference.preprocess.mean == (0.485, 0.456, 0.406)
    save_as_avion(tmp_path / "other.pt", numpy_core="numpy._core", norm_style="mine")
    with pytest.raises(CheckpointError, match=r"other\.pt: norm_style must be one of openai, timm, got 'mine'"):
        load_avion(tmp_path / "other.pt")


class Attack:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran",)


def test_other_files_are_refused_and_run_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": {}, "args": Attack()}, tmp_path / "attack.pt")
    torch.save({"state_dict": {"visual.patch_embed.weight": torch.zeros(1)}}, tmp_path / "lavila.pt")
    for name, stray in (("more.pt", "visual.head.weight"), ("stray.pt", "decoder.weight")):
        torch.save({"state_dict": state_dict(flash=True) | {stray: torch.zeros(1)}}, tmp_path / name)
    (tmp_path / "text.pt").write_text("hello")
    for name, message in (
        ("attack.pt", "cannot be read as tensors"),
        ("text.pt", "cannot be read as tensors"),
        ("absent.pt", "cannot be read as tensors"),
        ("more.pt", r"unexpected head\.weight"),
        ("stray.pt", r"AVION models have no decoder\.weight \(1 unknown keys\)"),
        ("lavila.pt", "not an AVION model: textual. is missing among 1 tensors; LaViLa's TimeSformer"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_avion(tmp_path / name)
    assert "code ran" not in capsys.readouterr().out
