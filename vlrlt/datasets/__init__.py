"""Benchmarks on disk: their official annotation files, read untouched, and where their videos lie."""
