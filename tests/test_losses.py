"""The contrastive loss against a plain double loop, in float64, with its gradients."""

import math

import pytest
import torch

from vlrlt.losses import info_nce


def unit_vectors(seed: int, count: int) -> torch.Tensor:
    vectors = torch.randn(count, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(vectors, dim=-1)


def loop_info_nce(video: torch.Tensor, text: torch.Tensor, scale: float, same: torch.Tensor) -> torch.Tensor:
    total = torch.zeros((), dtype=torch.float64)
    count = len(video)
    for a, b, matches in ((video, text, same), (text, video, same.T)):
        for i in range(count):
            logits = [scale * (a[i] * b[j]).sum() for j in range(count)]
            log_sum = torch.logsumexp(torch.stack(logits), 0)
            targets = [j for j in range(count) if matches[i, j]]
            total = total + sum(log_sum - logits[j] for j in targets) / len(targets)
    return total / (2 * count)


@pytest.mark.parametrize(
    "same",
    [torch.eye(4, dtype=torch.bool), torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]).bool()],
    ids=["all-different", "two-alike"],
)
def test_equals_a_plain_loop_with_gradients(same: torch.Tensor) -> None:
    video, text = unit_vectors(0, 4).requires_grad_(), unit_vectors(1, 4).requires_grad_()
    scale = torch.tensor(7.0, dtype=torch.float64, requires_grad=True)
    loss = info_nce(video, text, logit_scale=scale, weight_BB=same)
    expected = loop_info_nce(video, text, 7.0, same)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    got = torch.autograd.grad(loss, (video, text, scale))
    want = torch.autograd.grad(expected, (video, text))
    for a, b in zip(got, want, strict=False):
        assert torch.allclose(a, b, atol=1e-12)
    assert got[2].abs() > 0


def test_worked_by_hand() -> None:
    """Orthogonal pairs that match exactly: each row is softmax of [s, 0], so the loss is log(1 + e^-s)."""
    eye = torch.eye(2, dtype=torch.float64)
    loss = info_nce(eye, eye, logit_scale=torch.tensor(3.0), weight_BB=eye)
    assert loss.item() == pytest.approx(math.log1p(math.exp(-3.0)), abs=1e-12)


def test_a_second_clip_of_the_same_action_is_not_pushed_away() -> None:
    """Clip 0 and text 1 say the same: knowing it, they attract each other; not knowing it, they repel."""
    video = torch.eye(2, dtype=torch.float64)[[0, 0, 1]].requires_grad_()
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    text = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=torch.float64)
    pulls = []
    for matches in (same, torch.eye(3).bool()):
        loss = info_nce(video, text, logit_scale=torch.tensor(50.0), weight_BB=matches)
        (gradient,) = torch.autograd.grad(loss, video)
        pulls.append(float(gradient[0] @ (text[1] - text[0])))
    assert pulls[0] < 0 < pulls[1]  # descending moves clip 0 towards text 1 only when it is known to match
