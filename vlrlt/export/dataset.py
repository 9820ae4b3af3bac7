"""Training data: clips with their captions as one tar in the layout of WebDataset.

Each sample is three files of one name: 000000.mp4, the exact cut with its sound; 000000.txt, the caption; 000000.json,
what is known of it. Loaders for PyTorch read such files one after the other, without unpacking.
Source: https://github.com/webdataset/webdataset
"""

import io
import json
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from vlrlt.errors import ConfigError
from vlrlt.export.cut import cut_video
from vlrlt.export.output import new_file
from vlrlt.export.piece import Piece


def write_dataset(pieces: Sequence[Piece], out: Path, *, force: bool = False) -> None:
    """Cut the pieces and write them to a tar, in their order. The same pieces give the same names.

    Raises:
        ConfigError: there is no piece, or out exists or cannot be written.
        DecodeError: a video cannot be read.
    """
    if not pieces:
        raise ConfigError("nothing was found, so there is no dataset to write; try vlrlt search --tail")
    with (
        new_file(out, force=force) as unfinished,
        tempfile.TemporaryDirectory(prefix="vlrlt-") as folder,
        tarfile.open(unfinished, "w") as archive,
    ):
        film = Path(folder) / "clip.mp4"
        for number, piece in enumerate(pieces):
            cut = cut_video(piece.video, piece.span, film, force=True)
            known = piece.as_json() | {"start_s": round(cut.start_s, 3), "end_s": round(cut.end_s, 3)}
            about = {"caption": piece.title, **known, "video": piece.video.name}
            _add(archive, f"{number:06d}.mp4", film.read_bytes())
            _add(archive, f"{number:06d}.txt", piece.title.encode(errors="replace"))
            _add(archive, f"{number:06d}.json", json.dumps(about).encode())


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
