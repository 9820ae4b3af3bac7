"""Resolve the name in a sidecar file to videos: first in its folder, and never by a common prefix alone."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from vlrlt.formats import composed
from vlrlt.index.library.files import VIDEO_SUFFIXES

_LANGUAGE = re.compile(r"\.(?:[a-z]{2,3}(?:[-_][a-z0-9]{2,8})*|forced|sdh|cc|default)$")
"""At the end of a folded name without its suffix: film.en, film.pt-br, film.en.forced."""


class VideoNames:
    """The searchable videos of a library by their names. Case and the form of accents do not count.

    Args:
        videos: path and content hash of each.
    """

    def __init__(self, videos: Iterable[tuple[Path, str]]) -> None:
        self._by_folder: dict[tuple[str, str], set[str]] = {}
        self._by_stem: dict[str, list[tuple[str, str]]] = {}
        for path, content_hash in videos:
            folder, stem = _fold(os.path.realpath(path.parent)), _fold(path.stem)
            self._by_folder.setdefault((folder, stem), set()).add(content_hash)
            self._by_stem.setdefault(stem, []).append((folder, content_hash))

    def find(self, name: str, *, beside: Path) -> tuple[str, ...]:
        """Content hashes of the videos that a name means; none if there is none, or several that differ.

        Args:
            name: of a video, or of the sidecar without its suffix: with or without folders, suffix and language.
            beside: the sidecar; a video in its folder counts before all others.
        """
        *folders, last = [part for part in re.split(r"[\\/]", _fold(name)) if part] or [""]
        for stem in _stems(last):
            own = self._by_folder.get((_fold(os.path.realpath(beside.parent)), stem), set())
            if own and not folders:
                return tuple(own)
            elsewhere = {known for folder, known in self._by_stem.get(stem, ()) if _ends_with(folder, folders)}
            if len(elsewhere) == 1:
                return tuple(elsewhere)
        return ()


def _stems(name: str) -> Iterable[str]:
    """The name, without the suffix of a video, and without a language, as far as it has them."""
    if Path(name).suffix in VIDEO_SUFFIXES:
        name = Path(name).stem
    yield name
    while shorter := _LANGUAGE.sub("", name):
        if shorter == name:
            return
        name = shorter
        yield name


def _ends_with(folder: str, parts: list[str]) -> bool:
    return not parts or Path(folder).parts[-len(parts) :] == tuple(parts)


def _fold(name: str) -> str:
    return composed(name).casefold()
