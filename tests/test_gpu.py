"""On an NVIDIA GPU: kernels, vectors and FAISS give what they give on a CPU. `make test-gpu` runs it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_attention import H, overlap_weights, plain_attend, ragged_keep
from towers import TINY, TINY_RUN_OVERLAP, half_static_clips, tiny_dual

from vlrlt.embed import DualEncoderEmbedder, load_embedder
from vlrlt.index.vectors.faiss_base import load_faiss
from vlrlt.index.vectors.gpu import gpu_copy
from vlrlt.index.vectors.plan import IndexPlan
from vlrlt.models.attention import PackedAttention, frame_attention, joint_attention
from vlrlt.models.config import VideoEncoderConfig
from vlrlt.models.kernels import PLAIN, frame_kernel, varlen_attention
from vlrlt.tokens.packing import pack
from vlrlt.types import Precision

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here"),
]
HALF = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}


def gpu() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device())


@HALF
@pytest.mark.parametrize("head_width", [64, 72, 80])
def test_a_fused_kernel_is_found(dtype: torch.dtype, head_width: int) -> None:
    assert frame_kernel(gpu(), dtype, head_width) is not PLAIN


def test_clips_need_no_padding() -> None:
    assert varlen_attention(gpu(), torch.bfloat16, 64) is not None
    assert varlen_attention(gpu(), torch.bfloat16, 72) is not None


@HALF
@pytest.mark.parametrize("has_cls", [True, False], ids=["cls", "no-cls"])
def test_run_overlap_equals_a_double_loop(dtype: torch.dtype, has_cls: bool) -> None:
    packing = pack(ragged_keep(0.0, 0.2, 0.6, 1.0))
    weight_MM = overlap_weights(packing, has_cls=has_cls)
    torch.manual_seed(2)
    tokens = [torch.randn(len(weight_MM), H, 64, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    expected = plain_attend(tokens, weight_MM)
    probe = torch.randn_like(expected)
    expected_grads = torch.autograd.grad(expected, tokens, probe)
    there = [x_MHE.detach().to(gpu(), dtype).requires_grad_() for x_MHE in tokens]
    attended = frame_attention(pack(packing.keep_BShw.to(gpu())), has_cls=has_cls).attend(*there)
    grads = torch.autograd.grad(attended, there, probe.to(gpu(), dtype))
    for one, right in zip((attended, *grads), (expected, *expected_grads), strict=True):
        torch.testing.assert_close(one.cpu().double(), right, rtol=TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])


@HALF
def test_packed_joint_equals_padded_joint(dtype: torch.dtype) -> None:
    packing = pack(ragged_keep(0.0, 0.3, 0.35, 1.0).to(gpu()))
    joint = joint_attention(packing, num_cls=1, dtype=dtype)
    assert isinstance(joint, PackedAttention)
    torch.manual_seed(2)
    tokens = [torch.randn(len(joint.clip_M), H, 64, dtype=dtype, device=gpu(), requires_grad=True) for _ in range(3)]
    probe = torch.randn(len(joint.clip_M), H, 64, dtype=dtype, device=gpu())
    packed, padded = joint.attend(*tokens), joint.rows.attend(*tokens)
    grads = [torch.autograd.grad(out, tokens, probe) for out in (packed, padded)]
    for one, right in zip((packed, *grads[0]), (padded, *grads[1]), strict=True):
        torch.testing.assert_close(one, right, rtol=TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])


@pytest.mark.parametrize("video", [TINY, TINY_RUN_OVERLAP], ids=["joint", "run_overlap"])
@pytest.mark.parametrize(("precision", "least"), [("float32", 0.99999), ("bfloat16", 0.999)])
def test_vectors_are_those_of_the_cpu(video: VideoEncoderConfig, precision: Precision, least: float) -> None:
    clips, of = half_static_clips(2), []
    places: tuple[tuple[torch.device, Precision], ...] = ((gpu(), precision), (torch.device("cpu"), "float32"))
    for device, used in places:
        embedder = DualEncoderEmbedder(tiny_dual(video), name="tiny", device=device, precision=used)
        of.append(embedder.embed_clips(clips).vectors_BD)
    assert ((of[0] * of[1]).sum(1) >= least).all()


def test_the_default_model_gives_the_vectors_of_the_cpu() -> None:
    random = np.random.default_rng(0)
    there, here = load_embedder(device="cuda"), load_embedder(device="cpu", precision="float32")
    size_px = here.preprocess.image_size_px
    clips = random.integers(0, 256, (4, here.sampling.num_frames, size_px, size_px, 3), np.uint8)
    clips[:, 1:, size_px // 2 :] = clips[:, :1, size_px // 2 :]
    assert ((there.embed_clips(clips).vectors_BD * here.embed_clips(clips).vectors_BD).sum(1) >= 0.999).all()


def test_nothing_multiplies_in_tf32() -> None:
    DualEncoderEmbedder(tiny_dual(), name="tiny", device=gpu())
    a, b = (torch.randn(512, 512, device=gpu()) for _ in range(2))
    exact = a.double() @ b.double()
    assert ((a @ b).double() - exact).abs().max() < 1e-3


@pytest.mark.parametrize("factory", ["SQfp16", "IVF64,SQ8"])
def test_faiss_finds_what_it_finds_on_the_cpu(factory: str, tmp_path: Path) -> None:
    faiss = load_faiss()
    if not hasattr(faiss, "StandardGpuResources"):
        pytest.skip("needs the extra gpu: pip install 'vlrlt[gpu]'")
    vectors_ND = np.random.default_rng(0).standard_normal((5000, 64), np.float32)
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    index = faiss.index_factory(64, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors_ND)
    index.add(vectors_ND)
    there = gpu_copy(index, IndexPlan(factory=factory, num_lists=0, overfetch=1, reason="a test"))
    assert there is not None
    scores, ids = index.search(vectors_ND[:50], 10)
    scores_there, ids_there = there.search(vectors_ND[:50], 10)
    np.testing.assert_allclose(scores_there, scores, atol=1e-3)
    assert np.mean(ids_there == ids) > 0.95
