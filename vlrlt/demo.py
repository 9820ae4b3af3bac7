"""`vlrlt demo`: renders a small archive, indexes and searches it, and scores the answers. Every number is computed.

OUT/demo.json           says that this folder is the demo's own, and what the archive was made of
OUT/archive             a toy kitchen of a seed that the embedded model has never seen
OUT/library             its index
OUT/contact_sheet.png, OUT/report.html
"""

import base64
import io
import json
import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image, ImageDraw, ImageFont
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vlrlt import __version__
from vlrlt.embed import DEFAULT_MODEL, load_embedder
from vlrlt.epic import EpicData, Narration, Split
from vlrlt.errors import ConfigError
from vlrlt.evaluate import EpicMirReport, evaluate_epic_mir
from vlrlt.index.build import IndexReport, index_paths
from vlrlt.index.search import TextQuery, format_time
from vlrlt.progress import count_progress, index_progress
from vlrlt.service import Service
from vlrlt.tokens.run_length import DENSE
from vlrlt.toy.make import make_toy_kitchen
from vlrlt.types import Moment

if TYPE_CHECKING:
    from vlrlt.embed import Embedder

NUM_QUERIES = 6
NUM_ANSWERS = 4
WISHES = (
    ("open", "fridge"),
    ("close", "fridge"),
    ("cut", "tomato"),
    ("pour", "milk"),
    ("turn-on", "tap"),
    ("turn-off", "tap"),
    ("stir", "pot"),
    ("peel", "carrot"),
    ("wash", "plate"),
)
"""Verb and noun of queries to ask, best first: the first six that the archive shows."""
MIN_OVERLAP = 0.5
"""An answer is right if it shares this much, of the shorter of both, with an annotated action of that verb and noun."""


@dataclass(frozen=True)
class WholeArchive(EpicData):
    """Both splits of a folder as one: fit for a model that has seen neither."""

    def narrations(self, split: Split) -> tuple[Narration, ...]:  # noqa: ARG002  one for all
        """All clips."""
        return (*super().narrations("train"), *super().narrations("test"))

    def sentences(self, split: Split) -> dict[str, str]:  # noqa: ARG002  one for all
        """All text queries, each wording once."""
        ids = {text: narration_id for part in ("test", "train") for narration_id, text in self._part(part)}
        return {narration_id: text for text, narration_id in ids.items()}
