"""Run-length tokens: what is kept of a clip, and how long it lasts."""
