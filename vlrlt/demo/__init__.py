"""`vlrlt demo`: render, index and search an archive, and write a report."""
