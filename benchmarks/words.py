"""Speech and text in the picture: how well they are read, and at what price, against the plain way.

    python benchmarks/words.py speech --model DIR [--sentences 24] [--json]
    python benchmarks/words.py screen [--seconds 300] [--json]
    python benchmarks/words.py lines [--n 1000000] [--json]

speech: sentences by espeak-ng (voices and speeds in turn) with pauses between them, as a film. Word error rate and CPU
seconds of the reader of `vlrlt index --speech`, and of faster-whisper run plainly on the whole sound.
screen: films made by code whose text is known: slides, a shop sign and a clock with a person walking by (both fixed),
and a street with signs that a camera passes (moving). Recall of known texts, OCR calls and CPU seconds of the reader
of `--screen-text`, of one frame a second, and of one in ten seconds, as key frames are.
lines: milliseconds of the search of N made lines, from words to ranked lines.
"""

import argparse
import json
import random
import subprocess
import tempfile
import time
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vlrlt.index.library.ledger import Ledger
from vlrlt.types import ClipSpan, TimedText, UInt8Array
from vlrlt.video.new_pictures import MOST_PX
from vlrlt.video.samples import read_samples
from vlrlt.words.screen import RapidOcr, ScreenReader, Seen
from vlrlt.words.speech import WhisperReader

SENTENCES = """The committee approved the new budget on Tuesday morning.
Please close the window before you leave the office.
Our train arrives at platform seven in twenty minutes.
She poured the milk into a large glass and drank it.
The weather will be cold and windy in the north.
We need more volunteers for the garden next weekend.
The doctor asked him to take two pills every evening.
Nobody remembered where the keys to the old house were.
The children built a small boat from paper and string.
Prices for bread and coffee have risen again this year.
He repaired the broken chair with a hammer and some nails.
The museum is closed on Monday but open on Sunday.""".splitlines()
ENDINGS = [f"{a}{b}" for a in "aeio" for b in ("ba", "do", "gu", "ki", "lo", "mu", "ne", "po", "ra", "su", "ta", "vi")]
NOUNS = ("budget", "harbor", "kitchen", "monday", "summer", "market", "garden", "window", "bridge", "winter")
VOICES = ("en-us", "en-gb", "en-us+f3", "en-gb+m4")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speech", "screen", "lines"))
    parser.add_argument("--model", default="whisper/small")
    parser.add_argument("--sentences", type=int, default=24)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.what == "speech":
            rows = measure_speech(Path(folder), model=given.model, num_sentences=given.sentences)
        elif given.what == "screen":
            rows = measure_screen(Path(folder), seconds=given.seconds)
        else:
            rows = measure_lines(Path(folder), n=given.n)
    print(json.dumps(rows) if given.json else "\n".join(str(row) for row in rows))


# Speech


def measure_speech(folder: Path, *, model: str, num_sentences: int) -> list[dict[str, Any]]:
    """The reader against faster-whisper on all of the sound."""
    path, spoken, duration_s = _talk(folder, num_sentences)
    reader = WhisperReader(model)
    started_s = time.process_time()
    parts = list(reader.read(path, start_s=0, duration_s=duration_s))
    reader_s = time.process_time() - started_s
    heard = " ".join(line.text for part in parts for line in part.lines)
    started_s = time.process_time()
    samples_N = read_samples(path, ClipSpan(0, duration_s)).samples_N
    segments, _ = reader._model.transcribe(samples_N, word_timestamps=True, condition_on_previous_text=False)
    plain = " ".join(segment.text for segment in segments)
    plain_s = time.process_time() - started_s
    share = sum(part.busy_s for part in parts) / duration_s
    return [
        {"way": "vlrlt", "wer": _wer(spoken, heard), "cpu_s": round(reader_s, 1), "speech_share": round(share, 3)},
        {"way": "faster-whisper on all", "wer": _wer(spoken, plain), "cpu_s": round(plain_s, 1)},
        {"duration_s": round(duration_s), "cpu_share": round(reader_s / plain_s, 3)},
    ]


def _talk(folder: Path, num_sentences: int) -> tuple[Path, str, float]:
    """A film of a grey picture, what is said in it, and its length."""
    rng, parts, spoken, rate_hz = random.Random(0), [], [], 22_050  # noqa: S311
    for number in range(num_sentences):
        sentence = SENTENCES[number % len(SENTENCES)]
        out = folder / "sentence.wav"
        command = ["espeak-ng", "-v", VOICES[number % len(VOICES)], "-s", str(rng.randint(120, 160)), "-w", str(out)]
        subprocess.run([*command, sentence], check=True)  # noqa: S603
        with wave.open(str(out)) as sound:
            rate_hz = sound.getframerate()
            parts.append(np.frombuffer(sound.readframes(sound.getnframes()), np.int16))
        parts.append(np.zeros(round(rng.choice([0.5, 2, 20]) * rate_hz), np.int16))
        spoken.append(sentence)
    samples_N = np.concatenate(parts)
    path = folder / "talk.mp4"
    with av.open(str(path), "w") as output:
        pictures = output.add_stream("libx264", rate=1)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        stream = output.add_stream("aac", rate=rate_hz, layout="mono")
        for second in range(1 + len(samples_N) // rate_hz):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 128, np.uint8), format="rgb24")
            frame.pts = second
            output.mux(pictures.encode(frame))
        for first in range(0, len(samples_N), 1024):
            block = av.AudioFrame.from_ndarray(samples_N[None, first : first + 1024], format="s16", layout="mono")
            block.sample_rate, block.pts, block.time_base = rate_hz, first, Fraction(1, rate_hz)
            output.mux(stream.encode(block))
        output.mux([*pictures.encode(None), *stream.encode(None)])
    return path, " ".join(spoken), len(samples_N) / rate_hz


def _wer(said: str, heard: str) -> float:
    """Word error rate, without case and punctuation."""
    one, other = ("".join(c for c in text.lower() if c.isalnum() or c == " ").split() for text in (said, heard))
    costs = np.arange(len(other) + 1)
    for word in one:
        changed = costs[:-1] + [word != against for against in other]
        best = np.concatenate([[costs[0] + 1], np.minimum(changed, costs[1:] + 1)])
        for at in range(1, len(best)):
            best[at] = min(best[at], best[at - 1] + 1)
        costs = best
    return round(float(costs[-1]) / len(one), 4)


# Text in the picture


@dataclass(frozen=True)
class Film:
    """A film whose text is known."""

    name: str
    path: Path
    shown: Sequence[str]
    duration_s: float


class Counted:
    """PP-OCR that counts its calls."""

    def __init__(self) -> None:
        self._read = RapidOcr()
        self.name, self.fingerprint, self.calls = self._read.name, self._read.fingerprint, 0

    def __call__(self, rgb_HWC: UInt8Array) -> Sequence[Seen]:
        """As Recognizer."""
        self.calls += 1
        return self._read(rgb_HWC)


def measure_screen(folder: Path, *, seconds: int) -> list[dict[str, Any]]:
    """Each film, three ways."""
    rows = []
    for film in (_slides(folder, seconds), _shop(folder, seconds), _street(folder, seconds)):
        for way, every_s in (("vlrlt", 0), ("one frame a second", 1), ("key frames, every 10 s", 10)):
            ocr = Counted()
            ocr(np.full((64, 64, 3), 255, np.uint8))
            ocr.calls, started_s = 0, time.process_time()
            if every_s:
                found = _read_every(film, ocr, every_s)
            else:
                parts = ScreenReader(ocr).read(film.path, start_s=0, duration_s=film.duration_s)
                found = {_plain(line.text) for part in parts for line in part.lines}
            recall = sum(any(_plain(text) in one for one in found) for text in film.shown) / len(film.shown)
            cpu_s = round(time.process_time() - started_s, 1)
            rows.append({"film": film.name, "way": way, "recall": round(recall, 3), "calls": ocr.calls, "cpu_s": cpu_s})
    return rows


def _read_every(film: Film, ocr: Counted, every_s: int) -> set[str]:
    found = set()
    with av.open(str(film.path)) as container:
        next_s = 0.0
        for frame in container.decode(video=0):
            if frame.time is not None and frame.time >= next_s:
                next_s += every_s
                image = Image.fromarray(frame.to_ndarray(format="rgb24"))
                image.thumbnail((MOST_PX, MOST_PX))
                found |= {_plain(seen.text) for seen in ocr(np.asarray(image))}
    return found


def _plain(text: str) -> str:
    return "".join(sign for sign in text.lower() if sign.isalnum())


def _words(rng: random.Random) -> str:
    return " ".join(rng.sample(NOUNS, 2))


def _write(path: Path, pictures: Sequence[Image.Image], fps: int) -> None:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=fps, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = *pictures[0].size, "yuv420p"
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def _slides(folder: Path, seconds: int) -> Film:
    """A slide of three lines every 15 s."""
    rng, font, fps = random.Random(1), ImageFont.load_default(size=36), 2  # noqa: S311
    pictures, shown = [], []
    for _ in range(seconds // 15):
        lines = [f"{_words(rng)} {rng.randint(10, 99)}" for _ in range(3)]
        slide = Image.new("RGB", (1280, 720), (245, 245, 240))
        for at, line in enumerate(lines):
            ImageDraw.Draw(slide).text((120, 140 + 150 * at), line, fill=(20, 20, 40), font=font)
        pictures += [slide] * (15 * fps)
        shown += lines
    _write(folder / "slides.mp4", pictures, fps)
    return Film("slides", folder / "slides.mp4", shown, seconds)


def _shop(folder: Path, seconds: int) -> Film:
    """A noisy fixed camera: a sign, a clock that changes each minute, a person who walks by again and again."""
    rng, font, fps = np.random.default_rng(2), ImageFont.load_default(size=34), 4
    pictures, shown = [], ["harbor bakery", "open until six"]
    for number in range(seconds * fps):
        second = number / fps
        clock = f"12:{10 + int(second) // 60:02d}"
        shown += [clock] if clock not in shown else []
        picture = Image.new("RGB", (1280, 720), (150, 140, 130))
        draw = ImageDraw.Draw(picture)
        draw.rectangle((90, 60, 520, 190), fill=(30, 60, 40))
        draw.text((120, 75), "HARBOR BAKERY", fill=(240, 240, 230), font=font)
        draw.text((120, 130), "open until six", fill=(240, 240, 230), font=font)
        draw.text((1100, 80), clock, fill=(20, 20, 20), font=font)
        left = round((second % 20) * 90 - 100)
        draw.rounded_rectangle((left, 330, left + 90, 700), 30, fill=(60, 50, 90))
        noisy = np.asarray(picture).astype(np.int16) + rng.integers(-4, 5, (720, 1280, 1))
        pictures.append(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)))
    _write(folder / "shop.mp4", pictures, fps)
    return Film("shop", folder / "shop.mp4", shown, seconds)


def _street(folder: Path, seconds: int) -> Film:
    """A camera that moves along a street of brick and passes a sign every six seconds, in sight for about eight."""
    rng, noise = random.Random(3), np.random.default_rng(3)  # noqa: S311
    font, fps = ImageFont.load_default(size=34), 4
    pixels_per_s, num_signs = 160, max(1, (seconds - 8) // 6)
    street = Image.fromarray(noise.integers(90, 170, (90, (seconds * pixels_per_s + 1280) // 8, 3)).astype(np.uint8))
    street = street.resize((seconds * pixels_per_s + 1280, 720), Image.Resampling.BICUBIC)
    draw, shown = ImageDraw.Draw(street), []
    for sign in range(num_signs):
        text = f"{_words(rng)} {rng.randint(10, 99)}"
        left, top = 900 + sign * 6 * pixels_per_s, rng.randint(100, 500)
        draw.rectangle((left - 20, top - 15, left + 440, top + 65), fill=(235, 235, 225))
        draw.text((left, top), text, fill=(20, 20, 60), font=font)
        shown.append(text)
    step = pixels_per_s // fps
    pictures = [street.crop((at * step, 0, at * step + 1280, 720)) for at in range(seconds * fps)]
    _write(folder / "street.mp4", pictures, fps)
    return Film("street", folder / "street.mp4", shown, seconds)


# Search of lines


def measure_lines(folder: Path, *, n: int) -> list[dict[str, Any]]:
    """N lines of eight words, the k-th word as often as 1/k (Zipf); queries of one to three words of any frequency."""
    rng = np.random.default_rng(0)
    words = np.array([f"{a}{b}{c}" for a in "bdfgklmnprst" for b in ("an", "el", "or", "im") for c in ENDINGS])
    weights = 1 / np.arange(10, 10 + len(words))
    chosen = rng.choice(len(words), (n, 8), p=weights / weights.sum())
    with Ledger.open(folder / "library") as ledger:
        with ledger._transaction():
            ledger._rows("INSERT INTO models VALUES (1, 'm', 'f', 1, '{}', 'null', 'float32', 0, 1)")
            for video in range(100):
                mark = (f"v{video}".encode(), f"hash{video}")
                ledger._rows("INSERT INTO files VALUES (NULL, ?, 0, 0, 0, 0, ?, NULL, NULL)", mark)
                ledger._rows(
                    "INSERT INTO videos VALUES (NULL, ?, 'f', 'indexed', 1, 1, NULL, NULL, 0, NULL, '')", mark[1:]
                )
            for video in range(100):
                lines = [_made_line(words[chosen[at]], at) for at in range(video, n, 100)]
                ledger.texts.add(f"hash{video}", lines, maker="made")
        times_ms: list[float] = []
        cpu_ms: list[float] = []
        for number in range(300):
            query = " ".join(words[rng.choice(len(words), 1 + number % 3, p=weights / weights.sum())])
            started_s, started_cpu_s = time.perf_counter(), time.process_time()
            ledger.texts.search(query)
            times_ms.append(1000 * (time.perf_counter() - started_s))
            cpu_ms.append(1000 * (time.process_time() - started_cpu_s))
    p50, p95 = (round(float(np.percentile(times_ms, share)), 1) for share in (50, 95))
    return [{"lines": n, "p50_ms": p50, "p95_ms": p95, "p50_cpu_ms": round(float(np.median(cpu_ms)), 1)}]


def _made_line(words: Sequence[str], at: int) -> TimedText:
    return TimedText(start_s=at, end_s=at + 1, text=" ".join(words), channel="speech")


if __name__ == "__main__":
    main()
