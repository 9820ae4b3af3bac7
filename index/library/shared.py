"""Tables of the catalog that any process may change, even while another indexes: what people keep and ask for."""

from pathlib import Path
from typing import Any

from vlrlt.index.library.schema import Bindings, connect_reader, mapped_errors

NAME = r"[\w .-]{1,100}"
"""Of searches, collections and tags: letters, digits, blanks, dots and dashes."""


class SharedTables:
    """Some of these tables.

    Args:
        library_dir: the library; opened for each call.
    """

    def __init__(self, library_dir: Path) -> None:
        self._library_dir = library_dir

    def _execute(self, sql: str, bindings: Bindings = ()) -> list[tuple[Any, ...]]:
        """All statements in one transaction, by a connection of their own.

        Raises:
            LibraryError: there is no library, or it cannot be written.
        """
        connection = connect_reader(self._library_dir)
        rows: list[tuple[Any, ...]] = []
        try:
            with mapped_errors(self._library_dir / "catalog.db"):
                if not sql.startswith("SELECT"):
                    connection.pragma("query_only", value=False)
                    connection.transaction_mode = "IMMEDIATE"
                with connection:
                    rows += connection.execute(sql, bindings)
        finally:
            connection.close()
        return rows
