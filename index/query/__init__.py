"""Queries to moments: the language of queries, filters, fusion, scores that people can read."""
