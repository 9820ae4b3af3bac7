"""Rows of values as Altair takes them without pandas; a column is named with its type: "tokens:Q"."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt


def charted(rows: Sequence[Mapping[str, Any]]) -> alt.Data:
    """Rows with the same columns."""
    data: alt.Data = alt.Data(values=list(rows))  # type: ignore[no-untyped-call]
    return data
