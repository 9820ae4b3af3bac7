"""`vlrlt demo`: an archive is rendered, indexed, searched and reported on."""
