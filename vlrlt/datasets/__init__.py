"""Benchmarks on disk: their official annotation files, unchanged, and the paths of their videos."""
