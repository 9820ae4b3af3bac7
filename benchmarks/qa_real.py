"""Hand-written questions over real videos: real_questions.tsv, for qa.py --videos.

Written by looking at the videos. Columns: kind, video (part of its file name), what is asked about, other options.

    where    the video that shows it, among all videos
    exists   nothing like it is in any of the videos: right is not found
    choice   which of five the video shows; without `about` none of the options is shown
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vlrlt.ask.answer import Answer
from vlrlt.ask.question import parse_question
from vlrlt.ask.retrieval import RetrievalAnswerer
from vlrlt.index.search.filters import Filter

QUESTIONS = Path(__file__).parent / "real_questions.tsv"


@dataclass(frozen=True, kw_only=True)
class RealQuestion:
    """A row of the file."""

    kind: str
    video: str
    about: str
    others: tuple[str, ...]

    @property
    def answerable(self) -> bool:
        """Whether the videos hold the answer."""
        return self.kind != "exists" and bool(self.about)

    def ask(self, answerer: RetrievalAnswerer) -> Answer:
        """The answer to it."""
        if self.kind != "choice":
            text = f"Where is {self.about}?" if self.kind == "where" else f"Is there {self.about}?"
            return answerer.answer(parse_question(text))
        options = tuple(sorted((self.about, *self.others) if self.about else self.others))
        question = parse_question("Which of these is shown?", options=options)
        return answerer.answer(question, within=Filter(paths=(f"*{self.video}*",)))

    def is_right(self, answer: Answer) -> bool:
        """Whether it is true."""
        if not self.answerable:
            return not answer.found
        if self.kind == "choice":
            return bool(answer.value == self.about)
        ranked = answer.citations or answer.closest
        return bool(ranked) and self.video in Path(ranked[0].video).name


def read_questions() -> Iterator[RealQuestion]:
    """All of them."""
    with QUESTIONS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            others = tuple(option for option in (row["options"] or "").split("|") if option)
            yield RealQuestion(kind=row["kind"], video=row["video"], about=row["about"], others=others)
