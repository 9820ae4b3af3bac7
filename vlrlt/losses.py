"""Contrastive losses between the two towers.

Every loss is a mean over rows: a row is one query (a clip among all captions, or a caption among all clips), and both
directions count the same. So a loss can be computed in chunks of rows, whose memory does not grow with the square of
the batch, and on the gathered batch of several processes; both equal the full matrix.

Shape legend: B pairs of a clip and its caption, S steps of a clip, R rows of a chunk, E embedding.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True)
class Temperature:
    """What turns cosines into logits: logit_scale * cosine + logit_bias."""

    logit_scale: Tensor
    """Inverse temperature, a scalar > 0."""
    logit_bias: Tensor
    """A scalar; SigLIP only."""


class PairLoss(ABC):
    """A loss of B clips and their B captions, given how relevant every caption is to every clip."""

    has_temperature: ClassVar[bool] = False
    """Whether logit_scale does anything."""
    fits: ClassVar[Literal["relevancy", "verb_and_noun"]] = "relevancy"
    """What relevancy_BB is: the official relevancy, or 1 where two actions have a verb and a noun in common, else 0."""
    has_many_positives: ClassVar[bool] = True
    """Whether what fits a query as well as its own item is not pushed away from it: `of_steps` needs that."""

    def __call__(
        self,
        video_BE: Tensor,
        text_BE: Tensor,
        *,
        relevancy_BB: Tensor,
        temperature: Temperature,
        chunk_rows: int | None = None,
    ) -> Tensor:
        """Mean of both directions, a scalar.

        Args:
            video_BE: unit vectors of clips.
            text_BE: unit vectors of their captions, in the same order.
            relevancy_BB: in [0, 1]: how well caption j fits clip i.
            temperature: for the losses with logits.
            chunk_rows: rows of the similarity matrix that exist at one time; None: all.
        """
        num_pairs = len(video_BE)
        total = video_BE.new_zeros(())
        for query_BE, item_BE, direction_BB in ((video_BE, text_BE, relevancy_BB), (text_BE, video_BE, relevancy_BB.T)):
            for own_R in torch.split(torch.arange(num_pairs, device=video_BE.device), chunk_rows or num_pairs):
                arguments = (query_BE[own_R], item_BE, direction_BB[own_R], own_R, temperature)
                if chunk_rows is None:
                    total = total + self._sum_of_rows(*arguments)
                else:  # the chunk's matrix is computed again in the backward pass
                    total = total + checkpoint(self._sum_of_rows, *arguments, use_reentrant=False)
        return total / (2 * num_pairs)

    def of_steps(
        self,
        steps_BSE: Tensor,
        text_BE: Tensor,
        *,
        is_own_BS: Tensor,
        relevancy_BSB: Tensor,
        temperature: Temperature,
    ) -> Tensor:
        """The loss with single steps in the place of clips, a scalar, the mean of both directions.

        Each step that shows its clip's action looks for its caption among all captions. Each caption looks for such a
        step (of its own clip, the one nearest to the middle) among all steps of all clips: so the steps of its own clip
        before and after the action are negatives.

        Args:
            steps_BSE: unit vectors of the steps of clips.
            text_BE: unit vectors of their captions.
            is_own_BS: bool, whether a step shows what its clip is about; every clip has one that does.
            relevancy_BSB: in [0, 1]: how well caption j fits a step.
            temperature: for the losses with logits.
        """
        num_steps = steps_BSE.shape[1]
        relevancy_BSB = relevancy_BSB.to(steps_BSE.dtype)
        clip_R, step_R = is_own_BS.nonzero(as_tuple=True)
        of_steps_R = self.rows(
            steps_BSE[clip_R, step_R] @ text_BE.T, relevancy_BSB[clip_R, step_R], clip_R, temperature
        )
        step_S = torch.arange(num_steps, device=steps_BSE.device)
        nearness_BS = is_own_BS * (num_steps - (step_S - num_steps // 2).abs())
        own_B = torch.arange(len(text_BE), device=steps_BSE.device) * num_steps + nearness_BS.argmax(1)
        of_captions_B = self.rows(
            text_BE @ steps_BSE.flatten(0, 1).T, relevancy_BSB.flatten(0, 1).T, own_B, temperature
        )
        return (of_steps_R.mean() + of_captions_B.mean()) / 2

    def _sum_of_rows(
        self, query_RE: Tensor, item_BE: Tensor, relevancy_RB: Tensor, own_R: Tensor, temperature: Temperature
    ) -> Tensor:
        similarity_RB = query_RE @ item_BE.T
        return self.rows(similarity_RB, relevancy_RB.to(similarity_RB.dtype), own_R, temperature).sum()

    @abstractmethod
    def rows(self, similarity_RB: Tensor, relevancy_RB: Tensor, own_R: Tensor, temperature: Temperature) -> Tensor:
        """Loss (R,) of every query, whose own item is in column own_R."""


@dataclass(frozen=True, kw_only=True)
class InfoNCE(PairLoss):
    """Cross-entropy over the batch (CLIP, arXiv 2103.00020) with targets of any weight.

    A row's target is relevancy ** relevancy_power divided by its sum, so a small relevancy to "close fridge" keeps it
    above what has nothing in common. None: only relevancy 1 counts, so a second "open fridge" in the batch is not
    pushed away and everything else is.
    """

    has_temperature = True
    relevancy_power: float | None = None

    def rows(self, similarity_RB: Tensor, relevancy_RB: Tensor, own_R: Tensor, temperature: Temperature) -> Tensor:
        """Cross-entropy of each row."""
        if self.relevancy_power is None:
            target_RB = (relevancy_RB == 1).to(relevancy_RB.dtype)
        else:
            target_RB = relevancy_RB**self.relevancy_power
        target_RB = target_RB.scatter(1, own_R[:, None], 1.0)
        target_RB = target_RB / target_RB.sum(1, keepdim=True)
        return functional.cross_entropy(temperature.logit_scale * similarity_RB, target_RB, reduction="none")


@dataclass(frozen=True, kw_only=True)
class EgoNCE(PairLoss):
    """-log of the probability of all positives together: the own item and what has a verb and a noun in common with it.

    Source: EgoVLP, arXiv 2206.01670, whose code adds up the two directions; their mean is half of that. Its negatives
    of the same scene come from the batches (`data.batches: scenes`).
    """

    fits = "verb_and_noun"
    temperature: float = 0.05

    def rows(self, similarity_RB: Tensor, relevancy_RB: Tensor, own_R: Tensor, temperature: Temperature) -> Tensor:  # noqa: ARG002
        """Log of the sum over all columns, less that over the positives."""
        is_positive_RB = (relevancy_RB > 0).scatter(1, own_R[:, None], value=True)
        logits_RB = similarity_RB / self.temperature
        positives_RB = logits_RB.masked_fill(~is_positive_RB, -torch.inf)
        return logits_RB.logsumexp(1) - positives_RB.logsumexp(1)


@dataclass(frozen=True, kw_only=True)
class SigLIP(PairLoss):
    """Every pair is a yes-no question of its own (arXiv 2303.15343); yes: the own caption, and relevancy 1."""

    has_temperature = True

    def rows(self, similarity_RB: Tensor, relevancy_RB: Tensor, own_R: Tensor, temperature: Temperature) -> Tensor:
        """Sum over the columns of -log sigmoid(z (scale s + bias)), z = 1 for yes, -1 for no."""
        z_RB = torch.where(relevancy_RB == 1, 1.0, -1.0).to(similarity_RB.dtype).scatter(1, own_R[:, None], 1.0)
        logits_RB = temperature.logit_scale * similarity_RB + temperature.logit_bias
        return -functional.logsigmoid(z_RB * logits_RB).sum(1)


@dataclass(frozen=True, kw_only=True)
class MaxMargin(PairLoss):
    """MI-MM, the max-margin ranking loss of EK-100 MIR: mean of [margin - s_own + s_other]+ over all other columns.

    Source: arXiv 2006.13256, as AVION trains with it (margin 0.2).
    """

    has_many_positives = False
    margin: float = 0.2

    def rows(self, similarity_RB: Tensor, relevancy_RB: Tensor, own_R: Tensor, temperature: Temperature) -> Tensor:  # noqa: ARG002
        """Mean hinge over the other columns of each row."""
        return _mean_of_others(functional.relu(self.margin - _lead(similarity_RB, own_R)), own_R)


@dataclass(frozen=True, kw_only=True)
class AdaptiveMaxMargin(PairLoss):
    """MI-MM whose margin shrinks where the own caption fits less: [c_own margin - s_own + s_other]+.

    Source: EgoVLP, arXiv 2206.01670 (margin 0.4). It is MI-MM wherever clips are trained with their own narration.
    """

    has_many_positives = False
    margin: float = 0.4

    def rows(self, similarity_RB: Tensor, relevancy_RB: Tensor, own_R: Tensor, temperature: Temperature) -> Tensor:  # noqa: ARG002
        """Mean hinge over the other columns of each row."""
        margin_R1 = self.margin * relevancy_RB.gather(1, own_R[:, None])
        return _mean_of_others(functional.relu(margin_R1 - _lead(similarity_RB, own_R)), own_R)


@dataclass(frozen=True, kw_only=True)
class SymmetricMultiSimilarity(PairLoss):
    """SMS: the lead of the own caption should equal margin times its lead in relevancy, R = c_own - c_other.

    R >= tie: [margin R - lead]+, R <= -tie: [lead - margin R]+, otherwise [|lead| - slack]+.
    Source: arXiv 2406.12256; EVA02-AT eq. 16 (margin 0.6, slack 0.1).
    """

    margin: float = 0.6
    slack: float = 0.1
    tie: float = 1e-3
    """Relevancies nearer than this are equal; those of EK-100 differ by 1/60 or more."""

    def rows(self, similarity_RB: Tensor, relevancy_RB: Tensor, own_R: Tensor, temperature: Temperature) -> Tensor:  # noqa: ARG002
        """Mean over the other columns of each row."""
        lead_RB = _lead(similarity_RB, own_R)
        wanted_RB = relevancy_RB.gather(1, own_R[:, None]) - relevancy_RB
        short_RB = self.margin * wanted_RB - lead_RB
        loss_RB = torch.where(
            wanted_RB >= self.tie,
            functional.relu(short_RB),
            torch.where(
                wanted_RB <= -self.tie, functional.relu(-short_RB), functional.relu(lead_RB.abs() - self.slack)
            ),
        )
        return _mean_of_others(loss_RB, own_R)


def _lead(similarity_RB: Tensor, own_R: Tensor) -> Tensor:
    """How much more similar the own item is than each column."""
    return similarity_RB.gather(1, own_R[:, None]) - similarity_RB


def _mean_of_others(loss_RB: Tensor, own_R: Tensor) -> Tensor:
    others_RB = loss_RB.scatter(1, own_R[:, None], 0.0)
    return others_RB.sum(1) / max(1, loss_RB.shape[1] - 1)
