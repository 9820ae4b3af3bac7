"""Questions about a toy video in the format of Ego4D's natural language queries: nlq_train.json, nlq_val.json.

Only what is done once in a video is asked for, so every question has one answer: the action's span.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vlrlt.toy.annotations import AnnotatedVideo, NarratedAction
from vlrlt.toy.script import FPS
from vlrlt.toy.world import spoken

_Ask = Callable[[str, tuple[str, ...]], str]
_WHERE = "Objects: Where is object X before / after event Y?"
_WHICH = "Objects: What X did I Y?"
_TEMPLATES: dict[str, tuple[str, _Ask]] = {
    "take": (
        "Objects: Where is object X before / after event Y?",
        lambda _, n: f"Where was the {n[0]} before I took it?",
    ),
    "put": ("Place: Where did I put X?", lambda _, n: f"Where did I put the {n[0]}?"),
    "pour": ("Objects: What did I put in X?", lambda verb, n: f"What did I {verb} into the {n[1]}?"),
    "throw": ("Objects: What did I put in X?", lambda verb, n: f"Which {n[0]} did I {verb} into the {n[1]}?"),
    **dict.fromkeys(
        ("open", "close", "turn-on", "turn-off"),
        ("Objects: State of an object", lambda verb, n: f"Did I {verb} the {n[0]}?"),
    ),
    **dict.fromkeys(
        ("wash", "cut", "stir", "peel", "shake", "squeeze"), (_WHICH, lambda verb, n: f"Which {n[0]} did I {verb}?")
    ),
}
"""Verb -> Ego4D's name for this kind of question, and the words: said verb and class nouns to a question."""


def write_questions(folder: Path, *, train: Sequence[AnnotatedVideo], test: Sequence[AnnotatedVideo]) -> None:
    """Write both files into a folder that exists; a video is one clip, whose seconds are those of the video."""
    for split, videos in (("train", train), ("val", test)):
        content = {
            "version": "1",
            "date": "",
            "description": f"NLQ Annotations ({split}): a toy kitchen",
            "manifest": "",
            "videos": [_video(video, split) for video in sorted(videos, key=lambda video: video.video_id)],
        }
        (folder / f"nlq_{split}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _video(video: AnnotatedVideo, split: str) -> dict[str, Any]:
    num_frames = round(video.duration_s * FPS)
    clip = {
        "clip_uid": f"{video.video_id}-clip",
        **_span("video", 0.0, video.duration_s, num_frames),
        **_span("clip", 0.0, video.duration_s, num_frames),
        "source_clip_uid": f"{video.video_id}-clip",
        "annotations": [{"language_queries": _queries(video), "annotation_uid": f"{video.video_id}-questions"}],
    }
    return {"video_uid": video.video_id, "clips": [clip], "split": split}


def _queries(video: AnnotatedVideo) -> list[dict[str, Any]]:
    asked = Counter(_asked(action) for action in video.actions)
    return [_query(action) for action in video.actions if asked[_asked(action)] == 1]


def _asked(action: NarratedAction) -> tuple[str, tuple[str, ...]]:
    """What an answer may be mistaken for: what is poured is asked for, so only the vessel tells two pourings apart."""
    return action.verb, action.nouns[1:] if action.verb == "pour" else action.nouns


def _query(action: NarratedAction) -> dict[str, Any]:
    template, ask = _TEMPLATES[action.verb]
    verb = action.words.verb.removesuffix("-into").replace("-", " ")
    nouns = tuple(spoken(noun) for noun in action.nouns)
    question, slot = ask(verb, nouns), nouns[1] if action.verb == "pour" else nouns[0]
    return {
        "clip_start_sec": action.start_s,
        "clip_end_sec": action.stop_s,
        "video_start_sec": action.start_s,
        "video_end_sec": action.stop_s,
        "video_start_frame": int(action.start_s * FPS),
        "video_end_frame": int(action.stop_s * FPS),
        "template": template,
        "query": question,
        "slot_x": slot,
        "verb_x": verb,
        "raw_tags": [template, question, slot, verb],
    }


def _span(name: str, start_s: float, stop_s: float, num_frames: int) -> dict[str, float | int]:
    return {
        f"{name}_start_sec": start_s,
        f"{name}_end_sec": stop_s,
        f"{name}_start_frame": 0,
        f"{name}_end_frame": num_frames,
    }
