"""Benchmarks: embed a dataset's clips and texts, score them by the official protocol, report with baselines."""
