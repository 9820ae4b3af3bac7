"""Index a video archive, find moments by natural language, with run-length tokenization."""

__version__ = "0.1.0"
