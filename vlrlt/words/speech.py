"""Speech to text: Whisper by CTranslate2, on the parts of the sound that Silero's detector takes for speech.

Sources: faster-whisper (https://github.com/SYSTRAN/faster-whisper), Whisper (https://arxiv.org/abs/2212.04356), Silero
VAD (https://github.com/snakers4/silero-vad).
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from vlrlt.errors import CheckpointError
from vlrlt.extras import require
from vlrlt.models.speech_models import speech_model_folder
from vlrlt.types import Channel, ClipSpan, Float32Array, TimedText
from vlrlt.video.samples import RATE_HZ, read_samples
from vlrlt.words.reader import PART_S, ReadPart

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

MAX_WORDS = 30
"""Of a line; a sentence that is longer is several."""
_DETECTOR = {"min_silence_duration_ms": 500}
_TAIL_S = 30.0
"""So much of a part's end is looked at for a pause in which to cut."""
_LEAST_PART_S = 1.0
_SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！", "।", "؟")  # noqa: RUF001
_FORMAT = "1"
"""Of the fingerprint: changes when the same model would give other lines."""


class WhisperReader:
    """Reads what is said.

    Args:
        model: a folder of a CTranslate2 Whisper, or a name of SPEECH_MODELS.
        device: "cpu", "cuda" or "auto".

    Raises:
        MissingExtraError: faster-whisper is not installed.
        CheckpointError: there is no such model, or it cannot be loaded.
    """

    channel: Channel = "speech"

    def __init__(self, model: str, *, device: str = "auto") -> None:
        whisper = require("faster_whisper", extra="speech")
        folder = speech_model_folder(model)
        self.name = model
        self.maker = _fingerprint(folder)
        logging.getLogger("faster_whisper").setLevel(logging.WARNING)
        try:
            self._model: WhisperModel = whisper.WhisperModel(
                str(folder), device=device, compute_type="auto", local_files_only=True
            )
        except Exception as error:  # CTranslate2 raises RuntimeError and ValueError for all that it cannot load
            raise CheckpointError(f"{folder}: cannot load a speech model: {error}") from error

    def read(self, path: Path, *, start_s: float, duration_s: float) -> Iterator[ReadPart]:
        """As ChannelReader; parts end in a pause where there is one."""
        while start_s < duration_s:
            end_s = min(start_s + PART_S, duration_s)
            sound = read_samples(path, ClipSpan(start_s, end_s))
            if not len(sound.samples_N):
                yield ReadPart(lines=(), done_s=duration_s, busy_s=0.0, problem=sound.problem)
                return
            is_last = duration_s - end_s < _LEAST_PART_S
            done_s = duration_s if is_last else start_s + _pause_s(sound.samples_N)
            heard_N = sound.samples_N[: round((done_s - start_s) * RATE_HZ)]
            lines, speech_s = self._transcribe(heard_N, start_s)
            yield ReadPart(lines=lines, done_s=done_s, busy_s=speech_s, problem=sound.problem)
            start_s = done_s

    def _transcribe(self, samples_N: Float32Array, start_s: float) -> tuple[list[TimedText], float]:
        """Lines, and the seconds of speech."""
        segments, info = self._model.transcribe(
            samples_N,
            word_timestamps=True,
            vad_filter=True,
            vad_parameters=_DETECTOR,
            condition_on_previous_text=False,  # each part gives the same, whatever came before
        )
        lines = [
            _line(words, start_s=start_s, language=info.language)
            for segment in segments
            for words in _sentences(segment.words or ())
        ]
        return [line for line in lines if line.text], float(info.duration_after_vad)


def _fingerprint(folder: Path) -> str:
    """32 hexadecimal digits of all that decides what is read."""
    mark = xxhash.xxh3_128(_FORMAT.encode())
    for file in sorted(folder.iterdir()):
        if file.is_file():
            mark.update(file.name.encode())
            with file.open("rb") as content:
                while block := content.read(2**22):
                    mark.update(block)
    return mark.hexdigest()


def _pause_s(samples_N: Float32Array) -> float:
    """Where to end a part: before the last stretch of speech, if that may go on and there is a pause before it."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    length_s = len(samples_N) / RATE_HZ
    tail_s = max(0.0, length_s - _TAIL_S)
    spans = get_speech_timestamps(samples_N[round(tail_s * RATE_HZ) :], VadOptions(**_DETECTOR))
    is_open = bool(spans) and tail_s + spans[-1]["end"] / RATE_HZ > length_s - _LEAST_PART_S
    cut_s = tail_s + spans[-1]["start"] / RATE_HZ if is_open else length_s
    return cut_s if cut_s > max(tail_s, _LEAST_PART_S) else length_s


def _sentences(words: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Words up to the end of a sentence."""
    first = 0
    for at, word in enumerate(words, start=1):
        if word.word.rstrip().endswith(_SENTENCE_ENDS) or at == len(words) or at - first == MAX_WORDS:
            yield words[first:at]
            first = at


def _line(words: Sequence[Any], *, start_s: float, language: str) -> TimedText:
    text = "".join(word.word for word in words)
    return TimedText(
        start_s=start_s + float(words[0].start),
        end_s=start_s + max(float(words[-1].end), float(words[0].start) + 0.05),
        text=" ".join(text.split()),
        channel="speech",
        language=language,
        confidence=sum(float(word.probability) for word in words) / len(words),
        word_starts_s=_blank_starts(words, start_s),
    )


def _blank_starts(words: Sequence[Any], start_s: float) -> tuple[float, ...]:
    """When what stands between two blanks begins: Whisper's words begin with one, but for scripts without blanks."""
    starts = [start_s + float(word.start) for at, word in enumerate(words) if at == 0 or word.word.startswith(" ")]
    return tuple(starts)
