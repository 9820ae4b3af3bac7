"""`vlrlt demo`: renders a small archive, indexes and searches it, scores the answers. Every number is computed here.

OUT/demo.json           marks the folder as the demo's own and says what the archive was made of
OUT/archive             videos of a toy kitchen, with their annotations, from a seed that no training has used
OUT/library             their index
OUT/contact_sheet.png   the answers to six queries
OUT/report.html         the same and all numbers; one file that needs nothing else
"""

import json
import shlex
import shutil
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vlrlt import __version__
from vlrlt.datasets.base import Split
from vlrlt.datasets.epic import EpicData, Narration
from vlrlt.demo.page import DemoHit, DemoQuery, DemoReport, Variant, draw_contact_sheet, render_html
from vlrlt.embed import load_embedder
from vlrlt.embedder import DEFAULT_MODEL, Embedder
from vlrlt.errors import ConfigError, LibraryError
from vlrlt.evaluate.embeddings import EncodeOptions
from vlrlt.evaluate.epic_mir import evaluate_epic_mir
from vlrlt.formats import format_span
from vlrlt.index.run.build import index_paths
from vlrlt.index.run.run_report import IndexReport
from vlrlt.index.search.request import SearchRequest
from vlrlt.progress import count_progress, index_progress
from vlrlt.service import Library
from vlrlt.tokens.run_length import DENSE
from vlrlt.toy.make import make_toy_kitchen
from vlrlt.toy.world import spoken
from vlrlt.types import Moment

NUM_QUESTIONS = 6
NUM_ANSWERS = 4
WISHES = (
    ("open", "fridge"),
    ("close", "fridge"),
    ("cut", "tomato"),
    ("pour", "milk"),
    ("turn-on", "tap"),
    ("turn-off", "tap"),
    ("stir", "pot"),
    ("wash", "plate"),
    ("peel", "carrot"),
)
"""Verb and noun to ask for, those first that tell most: the first six of which the archive has an action are asked."""
MIN_OVERLAP = 0.5
"""An answer is right if it shares this much, of the shorter of both, with an annotated action of that verb and noun."""
_MARKER = "demo.json"


@dataclass(frozen=True)
class WholeArchive(EpicData):
    """Both splits of a folder as one: right for a model that has seen neither."""

    def narrations(self, split: Split) -> tuple[Narration, ...]:  # noqa: ARG002  there is one
        """The clips of the archive."""
        return (*super().narrations("train"), *super().narrations("test"))

    def sentences(self, split: Split) -> dict[str, str]:  # noqa: ARG002  there is one
        """The text queries of the archive, each wording once: narration_id -> sentence."""
        ids = {text: key for key, text in (super().sentences("test") | super().sentences("train")).items()}
        return {key: text for text, key in ids.items()}


def run_demo(
    out_dir: Path,
    *,
    num_videos: int = 8,
    seed: int = 2026,
    model: str = DEFAULT_MODEL,
    console: Console | None = None,
) -> None:
    """Make the demo's folder and tell on the console what happens. Running it again renders nothing anew.

    Args:
        out_dir: absent, empty, or made by an earlier demo.
        num_videos: of the archive, at least 2.
        seed: of the archive.
        model: what load_embedder takes.
        console: where to write; None: stdout.

    Raises:
        ConfigError: num_videos is too small, or out_dir is in use or cannot be written.
        VlrltError: whatever else went wrong, in one line.
    """
    if num_videos < 2:
        raise ConfigError(f"num_videos must be 2 or more, got {num_videos}: the first two are the two splits")
    console = console or Console(highlight=False)
    started_s = time.perf_counter()
    embedder = load_embedder(model)  # fails before the rendering, not after it
    try:
        data = _render_archive(out_dir, num_videos=num_videos, seed=seed, console=console)
        report = _examine(out_dir, data, embedder, console)
        (out_dir / "report.html").write_text(render_html(report), encoding="utf-8")
        draw_contact_sheet(report.questions).save(out_dir / "contact_sheet.png")
    except OSError as error:
        raise ConfigError(f"{error.filename or out_dir}: {error.strerror}; try another --out") from error
    _say_goodbye(out_dir, report, console, wall_s=time.perf_counter() - started_s)


def _render_archive(out_dir: Path, *, num_videos: int, seed: int, console: Console) -> WholeArchive:
    """The archive; rendered unless an earlier demo has made the same one."""
    marker, archive_dir = out_dir / _MARKER, out_dir / "archive"
    made_of = json.dumps({"num_videos": num_videos, "seed": seed, "vlrlt": __version__})
    if not marker.exists() and out_dir.exists() and any(out_dir.iterdir()):
        raise ConfigError(f"{out_dir} is not empty and not from an earlier demo; give another folder to --out")
    if marker.exists() and marker.read_text(encoding="utf-8") == made_of:
        console.print(f"1. The archive already exists: {num_videos} videos of seed {seed}")
        return WholeArchive(archive_dir)
    console.print(f"1. Rendering an archive: {num_videos} cooking videos of seed {seed}")
    out_dir.mkdir(parents=True, exist_ok=True)
    marker.write_text("unfinished", encoding="utf-8")
    shutil.rmtree(archive_dir, ignore_errors=True)
    with count_progress("videos") as show:
        make_toy_kitchen(archive_dir, num_videos=num_videos, seed=seed, progress=show)
    marker.write_text(made_of, encoding="utf-8")
    return WholeArchive(archive_dir)


def _examine(out_dir: Path, data: WholeArchive, embedder: Embedder, console: Console) -> DemoReport:
    """Index, ask, score."""
    library_dir = out_dir / "library"
    index = _index(data, library_dir, embedder, console)
    with Library(library_dir, model=embedder) as service:
        questions = tuple(_ask(service, data, *wish) for wish in choose_questions(data))
    _show_questions(questions, console)
    variants = _compare(data, embedder, index, console)
    _show_scores(variants, console)
    return DemoReport(
        model=embedder.name,
        index=index,
        questions=questions,
        variants=variants,
        commands=_next_commands(library_dir, questions[0].text),
    )


def _index(data: EpicData, library_dir: Path, embedder: Embedder, console: Console) -> IndexReport:
    console.print(f"2. Indexing it with the model {embedder.name}", soft_wrap=True, markup=False)
    shutil.rmtree(library_dir, ignore_errors=True)
    with index_progress() as show:
        report = index_paths([data.data_dir / "videos"], library_dir=library_dir, embedder=embedder, on_progress=show)
    if report.failures:
        raise LibraryError(f"the archive cannot be indexed: {report.failures[0].problem_text().strip()}")
    console.print(textwrap.indent(report.as_text(), "   "), markup=False, soft_wrap=True)
    return report


def choose_questions(data: WholeArchive) -> list[tuple[str, str]]:
    """Verb and noun of six actions that the archive shows: of the wishes, then the commonest others."""
    verbs, nouns = data.verb_classes(), data.noun_classes()
    counts = Counter((verbs[n.verb_class], nouns[n.noun_class]) for n in data.narrations("test"))
    wishes = [action for action in WISHES if counts[action]]
    return [*wishes, *(action for action, _ in counts.most_common() if action not in wishes)][:NUM_QUESTIONS]


def _ask(service: Library, data: WholeArchive, verb: str, noun: str) -> DemoQuery:
    """Search, and look up what the annotations say of each answer."""
    verbs, nouns = data.verb_classes(), data.noun_classes()
    text = f"{verb.replace('-', ' ')} {spoken(noun)}"
    narrations = data.narrations("test")
    wanted = [n for n in narrations if (verbs[n.verb_class], nouns[n.noun_class]) == (verb, noun)]
    hits = service.search(SearchRequest(text=(text,), k=NUM_ANSWERS, tail=True)).hits
    return DemoQuery(
        text=text,
        num_actions=len(wanted),
        num_found=sum(any(is_shown(action, hit) for hit in hits) for action in wanted),
        answers=tuple(
            DemoHit(
                moment=hit,
                action=_most_shown([n for n in wanted if is_shown(n, hit)] or narrations, hit),
                right=any(is_shown(n, hit) for n in wanted),
                still=service.thumbnail(hit),
                film=service.preview(hit).read_bytes(),
            )
            for hit in hits
        ),
    )


def is_shown(action: Narration, moment: Moment) -> bool:
    """Whether a moment and an annotated action overlap enough to be called the same."""
    shorter_s = min(action.stop_s - action.start_s, moment.end_s - moment.start_s)
    return _overlap_s(action, moment) >= MIN_OVERLAP * shorter_s


def _most_shown(actions: Sequence[Narration], moment: Moment) -> Narration | None:
    """The action that a moment shows most of; None: it shows none."""
    best = max(actions, key=lambda action: _overlap_s(action, moment))
    return best if _overlap_s(best, moment) > 0 else None


def _overlap_s(action: Narration, moment: Moment) -> float:
    """Seconds, 0 for another video."""
    if Path(moment.video).stem != action.video_id:
        return 0.0
    return max(0.0, min(action.stop_s, moment.end_s) - max(action.start_s, moment.start_s))


def _compare(data: WholeArchive, embedder: Embedder, index: IndexReport, console: Console) -> tuple[Variant, ...]:
    """The model as it is, without dropping tokens, and with so few frames that it costs about the same."""
    console.print("4. Scoring text retrieval over all annotated actions: EPIC-KITCHENS-100 protocol")
    sampling = embedder.sampling
    tokens_per_frame = index.dense_tokens / (index.looks + index.static_looks)

    def score(name: str, variant: Embedder) -> Variant:
        with count_progress(f"clips, {name}") as show:
            report = evaluate_epic_mir(data, variant, options=EncodeOptions(on_progress=show))
        num_frames = variant.sampling.num_frames
        num_tokens = report.measured_cost.tokens_kept * tokens_per_frame * num_frames
        return Variant(name=name, num_frames=num_frames, tokens_per_clip=num_tokens, report=report)

    rlt = score("run-length tokens", embedder)
    # Even, because a tubelet may be two frames.
    kept = rlt.report.measured_cost.tokens_kept
    num_fewer = min(sampling.num_frames, max(2, 2 * round(kept * sampling.num_frames / 2)))
    fewer_sampling = replace(sampling, num_frames=num_fewer)
    return (
        rlt,
        score("dense", load_embedder(embedder.name, policy=DENSE)),
        score("dense, fewer frames", load_embedder(embedder.name, policy=DENSE, sampling=fewer_sampling)),
    )


def _table(console: Console, *columns: str, right_from: int) -> Table:
    """Lines on a terminal, plain columns elsewhere; numbers, from one column on, to the right."""
    table = Table(box=SIMPLE_HEAD if console.is_terminal else None, pad_edge=False, padding=(0, 1))
    for position, name in enumerate(columns):
        table.add_column(name, justify="right" if position >= right_from else "left")
    return table


def _show_questions(questions: Sequence[DemoQuery], console: Console) -> None:
    console.print(f"3. Asking {len(questions)} queries; the annotations tell which answers are right")
    table = _table(console, "query", "video", "time", "annotated there", "right", "score", right_from=5)
    for question in questions:
        for answer in question.answers:
            table.add_row(
                Text(question.text if answer.moment.rank == 1 else "", style="bold"),
                Path(answer.moment.video).stem,
                format_span(answer.moment.start_s, answer.moment.end_s),
                Text(answer.annotated, style="" if answer.right else "dim"),
                Text("right" if answer.right else "-", style="green" if answer.right else "dim"),
                f"{answer.moment.score:.3f}",
                end_section=answer is question.answers[-1],
            )
    console.print(table)
    first_right = sum(question.answers[0].right for question in questions)
    found, actions = (sum(getattr(q, name) for q in questions) for name in ("num_found", "num_actions"))
    console.print(
        f"   first answer right: {first_right} of {len(questions)}; actions among the first {NUM_ANSWERS} answers: "
        f"{found} of {actions}\n",
        soft_wrap=True,
    )


def _show_scores(variants: Sequence[Variant], console: Console) -> None:
    """Quality beside the random floor, and cost."""
    full = variants[0].report
    table = _table(console, "", "frames", "tokens/clip", "encode s", "mAP", "nDCG", "verb right", right_from=1)
    for variant in variants:
        scores, verb = variant.report.scores, variant.report.verb
        table.add_row(
            variant.name,
            str(variant.num_frames),
            f"{variant.tokens_per_clip:.0f}",
            f"{variant.report.measured_cost.encode_s:.1f}",
            f"{scores.mAP.avg:.3f}",
            f"{scores.nDCG.avg:.3f}",
            "-" if verb.accuracy is None else f"{verb.accuracy:.3f}",
        )
    chance = "-" if full.verb.chance is None else f"{full.verb.chance:.3f}"
    table.add_row("random", "-", "-", "-", f"{full.random.mAP.avg:.3f}", f"{full.random.nDCG.avg:.3f}", chance)
    console.print(table)
    console.print(
        f"   {full.num_clips} actions, {full.num_sentences} sentences, of all videos, in no model's training data.\n"
        "   The same weights in every row. They were trained with run-length tokens only, so dense does worse:\n"
        "   how a model trained dense would do is another question. verb right: verb with the noun given.\n",
        soft_wrap=True,
    )


def _next_commands(library_dir: Path, text: str) -> tuple[str, ...]:
    """What to try next, in a form that can be pasted."""
    started_as = sys.argv[0] if Path(sys.argv[0]).name == "vlrlt" and shutil.which("vlrlt") is None else "vlrlt"
    program, library = shlex.quote(started_as), shlex.quote(str(library_dir))
    return (
        f"{program} search {shlex.quote(text)} --library {library}",
        f"{program} ui --library {library}",
        f"{program} index ~/Videos --library my-library",
    )


def _say_goodbye(out_dir: Path, report: DemoReport, console: Console, *, wall_s: float) -> None:
    console.print(f"Done in {wall_s:.0f} s. Look at", style="bold")
    for path in (out_dir / "report.html", out_dir / "contact_sheet.png"):
        console.print(f"  {path}", markup=False, soft_wrap=True)
    console.print("and try", style="bold")
    for command in report.commands:
        console.print(f"  {command}", markup=False, soft_wrap=True)
