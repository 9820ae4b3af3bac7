"""The result of a benchmark as JSON, as text and as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from vlrlt.embedder import Embedder
from vlrlt.evaluate.embeddings import Cost, EncodeOptions
from vlrlt.evaluate.gallery import Example
from vlrlt.evaluate.predictions import Predictions

_SHOWN = 10


class Benchmark(Protocol):
    """A protocol on a dataset: `vlrlt eval` does with every one the same."""

    def predict(self, embedder: Embedder, *, options: EncodeOptions = EncodeOptions()) -> Predictions:  # noqa: B008
        """Ask a model.

        Raises:
            AnnotationError: annotations or videos are missing or do not fit together.
            UnreadableClipsError: not one clip can be read.
        """
        ...

    def score(self, predictions: Predictions) -> "Report":
        """Judge its answers.

        Raises:
            AnnotationError: they were given to other annotations.
        """
        ...

    def examples(self, predictions: Predictions) -> list[Example]:
        """Some of them, with pictures.

        Raises:
            AnnotationError, DecodeError: a video is missing or cannot be read.
        """
        ...


class Report(Protocol):
    """What every benchmark gives back."""

    def as_json(self) -> dict[str, Any]:
        """One documented JSON object."""
        ...

    def as_text(self) -> str:
        """For a terminal."""
        ...

    def as_markdown(self) -> str:
        """For a paper's appendix or an issue."""
        ...


@dataclass(frozen=True, kw_only=True)
class MetricReport:
    """A handful of numbers beside the same numbers of floors."""

    benchmark: str
    model: str
    about: str
    """One line: how much was evaluated."""
    metrics: Mapping[str, float]
    random: Mapping[str, float]
    """Expectation of random scores."""
    text_only: Mapping[str, float] | None
    """What the model reaches without looking: every clip gets the mean scores of all clips. None: not known."""
    counts: Mapping[str, int]
    cost: Cost | None
    unreadable: tuple[str, ...] = ()
    """Clips that could not be read, and why."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """More for JSON, e.g. accuracy for each class."""

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape of `vlrlt eval BENCHMARK --json`."""
        return {
            "benchmark": self.benchmark,
            "model": self.model,
            **self.metrics,
            "random": dict(self.random),
            **({} if self.text_only is None else {"text_only": dict(self.text_only)}),
            **self.counts,
            **({} if self.cost is None else self.cost.as_json()),
            **unreadable_json(self.unreadable),
            **self.details,
        }

    def as_text(self) -> str:
        """A table for a terminal."""
        header, *rows = self._cells()
        widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
        lines = [
            "  ".join(f"{cell:{'<' if column == 0 else '>'}{widths[column]}}" for column, cell in enumerate(row))
            for row in (header, *rows)
        ]
        cost = () if self.cost is None else (self.cost.as_text(),)
        return "\n".join((self.about, *lines, *cost, *unreadable_lines(self.unreadable)))

    def as_markdown(self) -> str:
        """The same as a Markdown table."""
        return "\n\n".join((self.about, markdown_table(*self._cells()), *unreadable_lines(self.unreadable))) + "\n"

    def _cells(self) -> list[list[str]]:
        named = ((self.model, self.metrics), ("text only", self.text_only), ("random", self.random))
        return [
            [self.benchmark, *self.metrics],
            *(
                [name, *(f"{values[metric]:.3f}" for metric in self.metrics)]
                for name, values in named
                if values is not None
            ),
        ]


def unreadable_json(unreadable: Sequence[str]) -> dict[str, Any]:
    """How many clips could not be read, and the first of them."""
    return {"unreadable": len(unreadable), "unreadable_clips": list(unreadable[:_SHOWN])}


def unreadable_lines(unreadable: Sequence[str]) -> list[str]:
    """The same for people; nothing if all could be read."""
    if not unreadable:
        return []
    count = f"{len(unreadable)} clips could not be read: all their scores are 0"
    more = [f"  ... and {len(unreadable) - _SHOWN} more"] if len(unreadable) > _SHOWN else []
    return [count, *(f"  {reason}" for reason in unreadable[:_SHOWN]), *more]


def markdown_table(header: Sequence[str], *rows: Sequence[str]) -> str:
    """Cells as a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
