"""Readers of speech and of text in the picture."""
