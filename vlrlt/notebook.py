"""Results as HTML for notebooks, with small pictures that are bounded in number and size.

All text of an archive or a model is escaped. Pictures are data URLs, so that a saved notebook keeps them.
"""

from collections.abc import Callable, Sequence
from html import escape
from itertools import islice
from typing import Any, Protocol

from vlrlt.errors import VlrltError
from vlrlt.formats import data_url

MAX_PICTURES = 12
"""Pictures in one output; further moments are shown without."""
MAX_MOMENTS = 60
MAX_PICTURE_BYTES = 100_000
"""Larger ones are left out."""
_CARD = "display:inline-block;vertical-align:top;width:200px;margin:4px;font-size:12px;overflow-wrap:anywhere"

Thumbnail = Callable[[Any], bytes]
"""Makes the JPEG of a moment; raises VlrltError if its video cannot be read."""


class Pictured(Protocol):
    """A vlrlt.types.Moment, as far as a notebook needs it; its str is its caption."""

    @property
    def thumbnail(self) -> Thumbnail | None:
        """None: no picture."""


def moments_html(title: str, moments: Sequence[Pictured]) -> str:
    """A title and the moments as cards.

    Args:
        title: one line or several.
        moments: the first MAX_MOMENTS are shown.
    """
    shown = islice(moments, MAX_MOMENTS)
    cards = [_card(moment, with_picture=number < MAX_PICTURES) for number, moment in enumerate(shown)]
    more = f"<div>and {len(moments) - MAX_MOMENTS} more</div>" if len(moments) > MAX_MOMENTS else ""
    return f'<div><div style="white-space:pre-wrap">{_text(title)}</div>{"".join(cards)}{more}</div>'


def _card(moment: Pictured, *, with_picture: bool) -> str:
    picture = _picture(moment) if with_picture else ""
    return f'<div style="{_CARD}">{picture}<div>{_text(str(moment))}</div></div>'


def _picture(moment: Pictured) -> str:
    try:
        jpeg = b"" if moment.thumbnail is None else moment.thumbnail(moment)
    except VlrltError as error:
        return f"<div>{_text(str(error))}</div>"
    if not 0 < len(jpeg) <= MAX_PICTURE_BYTES:
        return ""
    return f'<img src="{data_url(jpeg)}" style="width:100%" alt="">'


def _text(text: str) -> str:
    """Escaped; names of files need not be Unicode."""
    return escape(text.encode(errors="replace").decode())
