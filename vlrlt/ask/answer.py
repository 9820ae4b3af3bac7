"""Answers and their parts."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vlrlt.ask.grammar import Kind
from vlrlt.formats import format_span, format_time
from vlrlt.notebook import moments_html
from vlrlt.types import Moment

SHOWN_CITATIONS = 5
Engine = Literal["retrieval", "vlm"]


@dataclass(frozen=True, kw_only=True)
class PossibleAnswer:
    """One possible answer of several."""

    text: str
    confidence: float
    """In [0, 1]."""

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape."""
        return {"text": self.text, "confidence": round(self.confidence, 3)}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer with its evidence."""

    question: str
    kind: Kind
    text: str
    """For people."""
    found: bool
    """False: the evidence is too weak; `text` says so, nothing is cited, and `closest` is where one may look."""
    value: Any = None
    """For programs: "yes", "no", a count, seconds, the chosen option, the named action."""
    citations: tuple[Moment, ...] = ()
    """What the answer rests on."""
    closest: tuple[Moment, ...] = ()
    """Of what was not found: the moments that come nearest to it. They are no evidence."""
    candidates: tuple[PossibleAnswer, ...] = field(default=())
    """The possible answers in order, where the question is a choice."""
    note: str | None = None
    """Which days were looked at, and that videos were left out whose recording time nobody knows."""
    searched_vectors: int
    searched_videos: int
    searched_video_s: float
    engine: Engine = "retrieval"

    def __str__(self) -> str:
        return self.as_text()

    def _repr_html_(self) -> str:
        title = f"{self.question}\n{self.text}" + ("\nclosest moments:" if self.closest else "")
        return moments_html(title, self.citations or self.closest)

    def as_text(self) -> str:
        """The answer, its evidence, and how much was searched."""
        lines = [self.text]
        for number, moment in enumerate(self.citations[:SHOWN_CITATIONS], start=1):
            lines.append(f"  [{number}] {where_and_when(moment)}")
        if self.closest:
            lines.append("closest moments:")
            lines += [f"  {where_and_when(moment)}" for moment in self.closest[:SHOWN_CITATIONS]]
        lines += [self.note] if self.note else []
        length = format_time(self.searched_video_s)
        lines.append(f"searched {self.searched_vectors} vectors of {self.searched_videos} videos, {length}")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """The documented JSON shape of `vlrlt ask --json`."""
        return {
            "question": self.question,
            "kind": self.kind,
            "answer": self.text,
            "found": self.found,
            "value": self.value,
            "citations": [moment.as_json() for moment in self.citations],
            "closest": [moment.as_json() for moment in self.closest],
            "candidates": [candidate.as_json() for candidate in self.candidates],
            "searched": {
                "vectors": self.searched_vectors,
                "videos": self.searched_videos,
                "video_s": round(self.searched_video_s, 1),
            },
            "note": self.note,
            "engine": self.engine,
        }


def where_and_when(moment: Moment) -> str:
    """File name, start and end."""
    return f"{Path(moment.video).name} {format_span(moment.start_s, moment.end_s)}"
