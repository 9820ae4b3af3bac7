"""The collections of an open library: moments go in as hits, and come out as pieces to cut and to export."""

from collections.abc import Iterable
from pathlib import Path

from vlrlt.errors import NotFoundError
from vlrlt.export.export import export_file
from vlrlt.export.output import check_outside
from vlrlt.export.piece import Piece
from vlrlt.index.library.kept import Collections, KeptMoment
from vlrlt.service.reader import LibraryReader
from vlrlt.types import Moment


class LibraryCollections(Collections):
    """Moments that were kept. Safe to use from several threads.

    Args:
        library_dir: the library.
        reader: of the library.
    """

    def __init__(self, library_dir: Path, reader: LibraryReader) -> None:
        super().__init__(library_dir)
        self._reader = reader

    def keep(
        self,
        name: str,
        moment: Moment,
        *,
        title: str = "",
        rating: int | None = None,
        note: str = "",
        tags: Iterable[str] = (),
    ) -> KeptMoment:
        """Put a moment of the library at the end of a collection; see Collections.add.

        Raises:
            LibraryError: the moment is not of a video of this library, or the library cannot be written.
            ConfigError: the name, the rating, the note or a tag is not allowed.
        """
        video_id = self._reader.known_video(moment).content_hash
        title = moment.text or title
        return self.add(name, video_id=video_id, span=moment.span, title=title, rating=rating, note=note, tags=tags)

    def pieces(self, name: str, *, tag: str | None = None, min_rating: int | None = None) -> tuple[Piece, ...]:
        """A collection to cut or to export, in its order; see Collections.moments.

        Raises:
            NotFoundError: there is no such collection, or the library has forgotten one of its videos.
        """
        return tuple(
            self._reader.informed(
                Piece(video=_path(kept), span=kept.span, title=kept.title or name, hit=kept.as_json())
            )
            for kept in self.moments(name, tag=tag, min_rating=min_rating)
        )

    def export(self, name: str, out: str | Path, *, force: bool = False) -> tuple[Path, ...]:
        """Write a collection as Library.export writes moments.

        Raises:
            NotFoundError: there is no such collection, or the library has forgotten one of its videos.
            ConfigError: the moments do not fit the format; out lies in the archive, exists, or cannot be written.
            DecodeError: a video cannot be read any more.
        """
        target = Path(out).expanduser()
        pieces = self.pieces(name)
        check_outside(target, (*map(Path, self._reader.now().snapshot.frame_runs.videos), *(p.video for p in pieces)))
        return export_file(pieces, target, title=name, force=force)


def _path(kept: KeptMoment) -> Path:
    if kept.video is None:
        raise NotFoundError(f"the library has forgotten the video of moment {kept.id}; remove it, or index it again")
    return Path(kept.video)
