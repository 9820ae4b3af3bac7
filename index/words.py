"""Words of a query that carry meaning."""

import re

_STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """a an and are at be by did do does for from has have i in into is it its my of off on onto or out some the
        then there to up was we were with""",
    )
)


def content_words(text: str) -> list[str]:
    """The words of a text in lower case, without those that every sentence has."""
    return [word for word in re.findall(r"\w+", text.lower()) if word not in _STOP_WORDS]
