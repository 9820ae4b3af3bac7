"""`python -m vlrlt` is `vlrlt`."""

from vlrlt.cli import main

main()
