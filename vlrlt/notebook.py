"""How results show themselves in a notebook: HTML with small pictures, bounded in number and size.

Everything that an archive or a model says is escaped. Pictures are data URLs: a notebook that is saved keeps them.
"""

import base64
from collections.abc import Callable, Sequence
from html import escape
from itertools import islice

from vlrlt.errors import VlrltError
from vlrlt.types import Moment

MAX_PICTURES = 12
"""In one output; what comes after is listed without."""
MAX_MOMENTS = 60
MAX_PICTURE_BYTES = 100_000
"""Larger ones are left out."""
_CARD = "display:inline-block;vertical-align:top;width:200px;margin:4px;font-size:12px;overflow-wrap:anywhere"

Thumbnail = Callable[[Moment], bytes]
"""A JPEG of a moment; raises VlrltError if its video cannot be read."""


def moments_html(title: str, moments: Sequence[Moment], thumbnail: Thumbnail | None) -> str:
    """A title and the moments as cards.

    Args:
        title: one line or several.
        moments: the first MAX_MOMENTS are shown.
        thumbnail: None: without pictures.
    """
    shown = islice(moments, MAX_MOMENTS)
    cards = [_card(moment, thumbnail if number < MAX_PICTURES else None) for number, moment in enumerate(shown)]
    more = f"<div>and {len(moments) - MAX_MOMENTS} more</div>" if len(moments) > MAX_MOMENTS else ""
    return f'<div><div style="white-space:pre-wrap">{_text(title)}</div>{"".join(cards)}{more}</div>'


def _card(moment: Moment, thumbnail: Thumbnail | None) -> str:
    return f'<div style="{_CARD}">{_picture(moment, thumbnail)}<div>{_text(str(moment))}</div></div>'


def _picture(moment: Moment, thumbnail: Thumbnail | None) -> str:
    try:
        jpeg = b"" if thumbnail is None else thumbnail(moment)
    except VlrltError as error:
        return f"<div>{_text(str(error))}</div>"
    if not 0 < len(jpeg) <= MAX_PICTURE_BYTES:
        return ""
    url = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    return f'<img src="{url}" style="width:100%" alt="">'


def _text(text: str) -> str:
    """Escaped; names of files need not be Unicode."""
    return escape(text.encode(errors="replace").decode())
