"""Every loss against a plain double loop in float64, with its gradients; chunks of rows equal the full matrix."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vlrlt.datasets.relevancy import Action, ActionTable
from vlrlt.losses import (
    AdaptiveMaxMargin,
    EgoNCE,
    InfoNCE,
    MaxMargin,
    PairLoss,
    SigLIP,
    SymmetricMultiSimilarity,
    Temperature,
)

Row = Callable[[Tensor, Tensor, int], Tensor]
"""Similarities of one query, their relevancies, its own column -> the query's loss, term by term."""


def unit_vectors(seed: int, count: int) -> Tensor:
    vectors = torch.randn(count, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(vectors, dim=-1)


def temperature(scale: float = 7.0, bias: float = -2.0) -> Temperature:
    return Temperature(
        torch.tensor(scale, dtype=torch.float64, requires_grad=True),
        torch.tensor(bias, dtype=torch.float64, requires_grad=True),
    )


def relevancies(count: int) -> Tensor:
    """Official levels, several ones, not symmetric, and own captions that do not fit entirely."""
    levels = torch.tensor([0.0, 0.0, 0.25, 0.5, 0.75, 1.0], dtype=torch.float64)
    relevancy = levels[torch.randint(6, (count, count), generator=torch.Generator().manual_seed(7))]
    relevancy[range(count), range(count)] = torch.tensor([1.0, 0.5, 1.0, 0.75, 1.0, 1.0], dtype=torch.float64)[:count]
    return relevancy


def loop(row: Row, video: Tensor, text: Tensor, relevancy: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for queries, items, fits in ((video, text, relevancy), (text, video, relevancy.T)):
        for i in range(len(queries)):
            similarities = torch.stack([(queries[i] * items[j]).sum() for j in range(len(items))])
            total = total + row(similarities, fits[i], i)
    return total / (2 * len(video))


def loop_info_nce(power: float | None, heat: Temperature) -> Row:
    def row(similarities: Tensor, fits: Tensor, own: int) -> Tensor:
        weights = [float(fit == 1) if power is None else float(fit) ** power for fit in fits]
        weights[own] = 1.0
        log_sum = torch.log(sum(torch.exp(heat.logit_scale * s) for s in similarities))  # type: ignore[arg-type]
        terms = [w * (log_sum - heat.logit_scale * s) for w, s in zip(weights, similarities, strict=True)]
        return torch.stack(terms).sum() / sum(weights)

    return row


def loop_ego_nce(heat: float) -> Row:
    def row(similarities: Tensor, fits: Tensor, own: int) -> Tensor:
        powers = [torch.exp(s / heat) for s in similarities]
        positives = [power for j, power in enumerate(powers) if j == own or fits[j] > 0]
        return -torch.log(torch.stack(positives).sum() / torch.stack(powers).sum())

    return row


def loop_siglip(heat: Temperature) -> Row:
    def row(similarities: Tensor, fits: Tensor, own: int) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for j, s in enumerate(similarities):
            z = 1 if j == own or fits[j] == 1 else -1
            total = total + torch.log(1 + torch.exp(-z * (heat.logit_scale * s + heat.logit_bias)))
        return total

    return row


def loop_max_margin(margin: float, *, adaptive: bool = False) -> Row:
    def row(similarities: Tensor, fits: Tensor, own: int) -> Tensor:
        wanted = margin * float(fits[own]) if adaptive else margin
        others = [j for j in range(len(similarities)) if j != own]
        hinges = [(wanted - similarities[own] + similarities[j]).clamp(min=0) for j in others]
        return torch.stack(hinges).sum() / len(others)

    return row


def loop_sms(margin: float, slack: float) -> Row:
    def row(similarities: Tensor, fits: Tensor, own: int) -> Tensor:
        others = [j for j in range(len(similarities)) if j != own]
        terms = []
        for j in others:
            r, lead = float(fits[own] - fits[j]), similarities[own] - similarities[j]
            if r > 0:
                term = margin * r - lead
            elif r < 0:
                term = lead - margin * r
            else:
                term = lead.abs() - slack
            terms.append(term.clamp(min=0))
        return torch.stack(terms).sum() / len(others)

    return row


HEAT = temperature()
CASES: dict[str, tuple[PairLoss, Row]] = {
    "info_nce": (InfoNCE(), loop_info_nce(None, HEAT)),
    "info_nce-relevancy": (InfoNCE(relevancy_power=4.0), loop_info_nce(4.0, HEAT)),
    "ego-nce": (EgoNCE(temperature=0.3), loop_ego_nce(0.3)),
    "siglip": (SigLIP(), loop_siglip(HEAT)),
    "mi-mm": (MaxMargin(margin=0.3), loop_max_margin(0.3)),
    "adaptive-mi-mm": (AdaptiveMaxMargin(margin=0.5), loop_max_margin(0.5, adaptive=True)),
    "sms": (SymmetricMultiSimilarity(margin=0.6, slack=0.1), loop_sms(0.6, 0.1)),
}


@pytest.mark.parametrize("chunk_rows", [None, 1, 4, 100])
@pytest.mark.parametrize("name", CASES)
def test_equals_a_plain_loop_with_gradients_in_any_chunks(name: str, chunk_rows: int | None) -> None:
    loss, row = CASES[name]
    video, text = unit_vectors(0, 6).requires_grad_(), unit_vectors(1, 6).requires_grad_()
    relevancy = relevancies(6)
    got = loss(video, text, relevancy_BB=relevancy, temperature=HEAT, chunk_rows=chunk_rows)
    want = loop(row, video, text, relevancy)
    assert got.item() == pytest.approx(want.item(), abs=1e-12)
    assert want.item() > 0
    inputs = (video, text, HEAT.logit_scale, HEAT.logit_bias)
    gradients = zip(
        torch.autograd.grad(got, inputs, allow_unused=True, materialize_grads=True),
        torch.autograd.grad(want, inputs, allow_unused=True, materialize_grads=True),
        strict=True,
    )
    for a, b in gradients:
        assert torch.allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_a_single_pair_is_finite(name: str) -> None:
    one = unit_vectors(0, 1)
    loss = CASES[name][0](one, one, relevancy_BB=torch.ones(1, 1), temperature=HEAT)
    assert loss.isfinite()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", ["all alike", "nothing relevant", "opposite", "enormous scale"])
def test_degenerate_batches_have_finite_gradients_and_equal_the_loop(name: str, kind: str) -> None:
    """All clips and texts one vector; captions that fit nothing, not even their own clip; every text the negative."""
    loss, row = CASES[name]
    video = unit_vectors(0, 1).repeat(5, 1) if kind == "all alike" else unit_vectors(0, 5)
    text = video.clone() if kind == "all alike" else -video if kind == "opposite" else unit_vectors(1, 5)
    relevancy = torch.zeros(5, 5, dtype=torch.float64) if kind == "nothing relevant" else relevancies(5)
    heat = temperature(100.0, -10.0) if kind == "enormous scale" else HEAT
    video.requires_grad_()
    got = loss(video, text, relevancy_BB=relevancy, temperature=heat, chunk_rows=2)
    (gradient,) = torch.autograd.grad(got, video)
    assert gradient.isfinite().all()
    if kind != "enormous scale":
        assert got.item() == pytest.approx(loop(row, video, text, relevancy).item(), abs=1e-12)
    assert got.isfinite()


@pytest.mark.parametrize("name", [name for name, (loss, _) in CASES.items() if loss.has_many_positives])
def test_the_loss_of_steps_equals_a_plain_loop_with_gradients(name: str) -> None:
    """Steps of 3 clips that show the action from the start, at the end, and in two pieces of the clip."""
    loss, row = CASES[name]
    steps = unit_vectors(0, 12).view(3, 4, 5).requires_grad_()
    text = unit_vectors(1, 3).requires_grad_()
    is_own = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 1]]).bool()
    nearest_to_the_middle = [1, 3, 3]  # the middle of 4 steps is step 2
    relevancy = torch.tensor([0.0, 0.25, 0.5, 1.0]).double()[torch.arange(36).view(3, 4, 3) * 7 % 4]
    for clip in range(3):
        relevancy[clip, is_own[clip], clip] = 1.0
    got = loss.of_steps(steps, text, is_own_BS=is_own, relevancy_BSB=relevancy, temperature=HEAT)

    of_steps = [
        row(torch.stack([steps[clip, step] @ caption for caption in text]), relevancy[clip, step], clip)
        for clip in range(3)
        for step in range(4)
        if is_own[clip, step]
    ]
    of_captions = [
        row(
            torch.stack([steps[clip, step] @ text[caption] for clip in range(3) for step in range(4)]),
            torch.stack([relevancy[clip, step, caption] for clip in range(3) for step in range(4)]),
            4 * caption + nearest_to_the_middle[caption],
        )
        for caption in range(3)
    ]
    want = (torch.stack(of_steps).mean() + torch.stack(of_captions).mean()) / 2
    assert got.item() == pytest.approx(want.item(), abs=1e-12)
    gradients = zip(torch.autograd.grad(got, (steps, text)), torch.autograd.grad(want, (steps, text)), strict=True)
    for a, b in gradients:
        assert a.any()
        assert torch.allclose(a, b, atol=1e-12)


def test_ego_nce_equals_the_official_code() -> None:
    """EgoVLP's model/loss.py (commit of 2023-08) on these vectors and tags; it adds up both directions."""

    def vectors(step: float) -> Tensor:
        return torch.nn.functional.normalize(
            torch.sin(torch.arange(20, dtype=torch.float64).view(4, 5) * step + step), dim=1
        )

    tags = [([93], [192, 115, 12]), ([93, 4], [12]), ([4], [12, 7]), ([1], [])]
    actions = [Action(frozenset(verbs), frozenset(nouns)) for verbs, nouns in tags]
    table = ActionTable(actions)
    places = table.index(actions)
    shared = torch.from_numpy(table.share_verb_and_noun(places, places))
    loss = EgoNCE()(vectors(1.7), vectors(2.3), relevancy_BB=shared, temperature=HEAT)
    assert 2 * loss.item() == pytest.approx(17.050172435704706, rel=1e-9)


def test_info_nce_by_hand() -> None:
    """Orthogonal pairs that match exactly: each row is softmax of [s, 0], so the loss is log(1 + e^-s)."""
    eye = torch.eye(2, dtype=torch.float64)
    loss = InfoNCE()(eye, eye, temperature=temperature(3.0), relevancy_BB=eye)
    assert loss.item() == pytest.approx(math.log1p(math.exp(-3.0)), abs=1e-12)


def test_max_margin_by_hand() -> None:
    """Own similarity 1, the other 0.9: 0.2 - 0.1 is missing in every row."""
    video = torch.tensor([[1.0, 0.0], [0.9, math.sqrt(1 - 0.81)]], dtype=torch.float64)
    loss = MaxMargin(margin=0.2)(video, video, temperature=temperature(), relevancy_BB=torch.eye(2))
    assert loss.item() == pytest.approx(0.1)


def test_a_second_clip_of_the_same_action_is_not_pushed_away() -> None:
    """Clip 0 and text 1 say the same: knowing it, they attract each other; not knowing it, they repel."""
    video = torch.eye(2, dtype=torch.float64)[[0, 0, 1]].requires_grad_()
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).double()
    text = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=torch.float64)
    pulls = []
    for relevancy in (same, torch.eye(3).double()):
        loss = InfoNCE()(video, text, temperature=temperature(50.0), relevancy_BB=relevancy)
        (gradient,) = torch.autograd.grad(loss, video)
        pulls.append(float(gradient[0] @ (text[1] - text[0])))
    assert pulls[0] < 0 < pulls[1]  # descending moves clip 0 towards text 1 only when it is known to match


def test_max_margin_pushes_away_what_sms_does_not() -> None:
    """A caption of equal relevancy at equal similarity costs MI-MM the margin and SMS nothing."""
    video = torch.eye(2, dtype=torch.float64)[[0, 0]]
    alike = torch.ones(2, 2, dtype=torch.float64)
    assert MaxMargin()(video, video, temperature=temperature(), relevancy_BB=alike).item() == pytest.approx(0.2)
    assert SymmetricMultiSimilarity()(video, video, temperature=temperature(), relevancy_BB=alike).item() == 0
