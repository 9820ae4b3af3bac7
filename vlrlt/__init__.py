"""Index a video archive, find moments by natural language, with run-length tokenization."""

from vlrlt.telemetry import switch_off

__version__ = "0.1.0"

switch_off()
