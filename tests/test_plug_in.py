"""Somebody else's model: the example of the documentation through the command line, and what is refused."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colour import ColourEmbedder, write_colours

import vlrlt
from vlrlt.embed import load_embedder
from vlrlt.embedder import EmbedderSettings, fingerprint_of
from vlrlt.errors import CheckpointError, ConfigError
from vlrlt.index.run.model_choice import choose_embedder
from vlrlt.plug_in import TRUSTED_VARIABLE, is_plug_in, split_name
from vlrlt.service import Library
from vlrlt.tokens.run_length import DENSE
from vlrlt.types import ClipEmbeddings
from vlrlt.video.sampling import ClipSampling

PAGE = Path(__file__).parent.parent / "docs" / "how-to" / "other-models.md"
CLIPS = np.zeros((2, 2, 16, 16, 3), np.uint8)


def example() -> str:
    found = re.search(r'^```python title="colours.py"\n(.*?)^```', PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert found is not None
    return found[1]


def make(settings: EmbedderSettings) -> Any:
    """What a test wants the embedder to be: `of` names a change."""
    embedder: Any = ColourEmbedder(sampling=settings.sampling if isinstance(settings.sampling, ClipSampling) else None)
    CHANGES[settings.options.get("of", "nothing")](embedder)
    return embedder


def _replace(name: str, value: object) -> Callable[[Any], None]:
    return lambda embedder: setattr(embedder, name, value)


def _spoil_vectors(change: Callable[[np.ndarray], object]) -> Callable[[Any], None]:
    def spoil(embedder: Any) -> None:
        whole = embedder.embed_clips

        def embed_clips(rgb_BTHWC: np.ndarray) -> ClipEmbeddings:
            made = whole(rgb_BTHWC)
            parts: dict[str, Any] = vars(made) | {"vectors_BD": change(made.vectors_BD)}
            return ClipEmbeddings(**parts)

        embedder.embed_clips = embed_clips

    return spoil


def _fail(*_: object) -> Any:
    raise KeyError("inside\nsomebody else's code")


CHANGES: dict[str, Callable[[Any], None]] = {
    "nothing": lambda _: None,
    "path": _replace("fingerprint", "../../etc/passwd"),
    "upper": _replace("fingerprint", "ABCDEF012345"),
    "dim": _replace("embed_dim", "8"),
    "sampling": _replace("sampling", 2.0),
    "policy": _replace("policy", "threshold"),
    "precision": _replace("precision", "int8"),
    "failing": _replace("embed_texts", _fail),
    "nan": _spoil_vectors(lambda vectors_BD: vectors_BD * np.float32(np.nan)),
    "long": _spoil_vectors(lambda vectors_BD: vectors_BD * np.float32(2)),
    "shape": _spoil_vectors(lambda vectors_BD: vectors_BD[:1]),
    "double": _spoil_vectors(lambda vectors_BD: vectors_BD.astype(np.float64)),
    "list": _spoil_vectors(lambda vectors_BD: vectors_BD.tolist()),
    "unmade": _fail,
}
NAME = f"{__name__}:make"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    write_colours(tmp_path / "archive" / "traffic.mp4", [("blue", 2), ("red", 2), ("green", 2)])
    return tmp_path / "archive"


def test_the_example_indexes_and_searches_through_the_command_line(archive: Path, tmp_path: Path) -> None:
    code = example()
    assert len([line for line in code.splitlines() if line.strip()]) <= 40
    (tmp_path / "colours.py").write_text(code, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "vlrlt", *words, "--library", str(tmp_path / "lib"), "--json"]
        command += ["--model", "colours:Colours?clip_s=0.5"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("index", str(archive))
    hit = json.loads(run("search", "something red"))["hits"][0]
    assert (hit["start_s"], hit["end_s"]) == pytest.approx((2, 4), abs=0.3)


def test_a_recorded_name_imports_nothing(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the module that holds the factory."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "somebody_elses.py").write_text(f"from {__name__} import make as Factory\n", encoding="utf-8")
    name = "somebody_elses:Factory"
    vlrlt.index([archive], library=tmp_path / "lib", model=name)
    del sys.modules["somebody_elses"]
    (tmp_path / "somebody_elses.py").write_text("raise SystemExit('it was imported')\n", encoding="utf-8")
    for attempt in (
        lambda: Library(tmp_path / "lib").search("red"),
        lambda: choose_embedder(tmp_path / "lib", model=None),
        lambda: load_embedder(name, recorded=True),
    ):
        with pytest.raises(ConfigError, match="not part of vlrlt"):
            attempt()
    assert "somebody_elses" not in sys.modules
    monkeypatch.setenv(TRUSTED_VARIABLE, f"x:Y {name}x")
    with pytest.raises(ConfigError, match=TRUSTED_VARIABLE):
        load_embedder(name, recorded=True)
    monkeypatch.setenv(TRUSTED_VARIABLE, f"x:Y {name}")
    with pytest.raises(CheckpointError, match="it was imported"):
        load_embedder(name, recorded=True)
    with pytest.raises(CheckpointError, match="cannot be imported: SystemExit: it was imported"):
        Library(tmp_path / "lib", model=name).search("red")


def test_an_entry_point_has_a_short_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = tmp_path / "colours-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: colours\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[vlrlt.embedders]\ncolours = {NAME}\n")
    assert not is_plug_in("colours")
    monkeypatch.syspath_prepend(str(tmp_path))
    embedder = load_embedder("colours?of=nothing")
    assert embedder.name == "colours?of=nothing"
    assert embedder.embed_texts(["red"]).shape == (1, embedder.embed_dim)
    assert embedder.embed_texts([]).shape == (0, embedder.embed_dim)
    with pytest.raises(ConfigError, match="not part of vlrlt"):
        load_embedder("colours", recorded=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("path", "fingerprint must be 8 to 64 hexadecimal digits"),
        ("upper", "fingerprint must be 8 to 64 hexadecimal digits"),
        ("dim", "embed_dim must be a number"),
        ("sampling", "sampling must be ClipSampling or MotionSampling"),
        ("policy", "policy must be a TokenPolicy or None"),
        ("precision", "precision must be one of float32, bfloat16"),
        ("unmade", "cannot be created: KeyError"),
    ],
)
def test_what_is_no_embedder_is_refused_by_name(change: str, said: str) -> None:
    with pytest.raises(CheckpointError, match=re.escape(said)) as refused:
        load_embedder(f"{NAME}?of={change}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("nan", "must hold unit vectors, one has the length nan"),
        ("long", "must hold unit vectors, one has the length 2"),
        ("shape", "must be a float32 array of shape (2, 8), got float32 (1, 8)"),
        ("double", "must be a float32 array of shape (2, 8), got float64 (2, 8)"),
        ("list", "must be a float32 array of shape (2, 8), got list"),
    ],
)
def test_vectors_are_checked_before_they_are_believed(change: str, said: str) -> None:
    with pytest.raises(CheckpointError, match=re.escape(said)):
        load_embedder(f"{NAME}?of={change}").embed_clips(CLIPS)


def test_its_failures_are_told_in_one_line() -> None:
    with pytest.raises(CheckpointError, match="failed: KeyError") as failed:
        load_embedder(f"{NAME}?of=failing").embed_texts(["red"])
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("no_such_package:Model", CheckpointError, "No module named 'no_such_package'"),
        ("colour:NoSuchClass", CheckpointError, "NoSuchClass"),
        ("colour:COLOURS", CheckpointError, "must be a class or a function"),
        (f"{NAME}?of", ConfigError, "are malformed"),
        (f"{NAME}?of=nan&of=long", ConfigError, "twice"),
    ],
)
def test_names_that_lead_nowhere(name: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=re.escape(said)):
        load_embedder(name)


def test_what_is_asked_for_is_obeyed_or_refused() -> None:
    assert load_embedder(NAME, num_frames=4).sampling.num_frames == 4
    sampling = ClipSampling(clip_s=2, stride_s=1, num_frames=3)
    assert load_embedder(NAME, sampling=sampling).sampling == sampling
    with pytest.raises(ConfigError, match="ignores the policy"):
        load_embedder(NAME, policy=DENSE)
    with pytest.raises(ConfigError, match="ignores the precision: requested bfloat16"):
        load_embedder(NAME, precision="bfloat16")


def test_other_names_mean_what_they_meant() -> None:
    for name in (
        "default",
        "ViT-B-16/openai",
        "timm/vit_base_patch16_224.augreg_in21k",
        "C:/models",
        "/a:b/c",
        "a/b:c",
    ):
        assert not is_plug_in(name), name
    assert split_name("a.b:C?dim=256&query=Find%20this%3A%20") == ("a.b:C", {"dim": "256", "query": "Find this: "})


def test_options_that_nobody_knows_are_refused() -> None:
    settings = EmbedderSettings(name="a:B?c=1", options={"c": "1"})
    settings.check_options("c", "d")
    with pytest.raises(ConfigError, match="does not have the option c; it has d"):
        settings.check_options("d")


def test_a_fingerprint_follows_every_part() -> None:
    weights = np.arange(6, dtype=np.float32)
    one = fingerprint_of("model 1", weights, ColourEmbedder().sampling)
    assert one == fingerprint_of("model 1", weights.copy(), ColourEmbedder().sampling)
    others = (
        fingerprint_of("model 2", weights, ColourEmbedder().sampling),
        fingerprint_of("model 1", weights + 1, ColourEmbedder().sampling),
        fingerprint_of("model 1", weights.reshape(2, 3), ColourEmbedder().sampling),
        fingerprint_of("model 1", weights.astype(np.float64), ColourEmbedder().sampling),
        fingerprint_of("model 1", weights, ClipSampling(clip_s=1.0, stride_s=1.0, num_frames=3)),
        fingerprint_of("model 1", weights),
    )
    assert len({one, *others}) == 1 + len(others)
    assert fingerprint_of("ab", "c") != fingerprint_of("a", "bc")
    with pytest.raises(ConfigError, match="got a object"):
        fingerprint_of(object())
