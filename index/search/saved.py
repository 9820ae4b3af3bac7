"""Named searches: a table of the catalog that any process may change, even during an index run."""

import json
import re

from vlrlt.errors import ConfigError, NotFoundError
from vlrlt.index.library.shared import NAME, SharedTables
from vlrlt.index.search.request import SearchRequest


class SavedSearches(SharedTables):
    """The saved searches of a library."""

    def all(self) -> dict[str, SearchRequest]:
        """By name, in its order.

        Raises:
            LibraryError: there is no library.
        """
        rows = self._execute("SELECT name, request FROM saved_searches ORDER BY name")
        return {str(name): SearchRequest.parse(json.loads(str(request))) for name, request in rows}

    def get(self, name: str) -> SearchRequest:
        """The search of a name.

        Raises:
            NotFoundError: there is none.
        """
        searches = self.all()
        if name not in searches:
            raise NotFoundError(f"no saved search {name!r}; saved searches are: {', '.join(searches) or 'none'}")
        return searches[name]

    def save(self, name: str, request: SearchRequest) -> None:
        """Keep a search; an older one of that name is replaced.

        Raises:
            ConfigError: the search looks for files or for nothing, or the name has other signs than letters, digits,
                blanks, ".", "_" and "-".
        """
        if not re.fullmatch(NAME, name):
            raise ConfigError(f"a saved search needs a name of letters, digits, spaces, . and -, got {name!r}")
        self._execute("INSERT OR REPLACE INTO saved_searches VALUES (?, ?)", (name, json.dumps(request.as_json())))

    def delete(self, name: str) -> None:
        """Forget a search.

        Raises:
            NotFoundError: there is none of that name.
        """
        self.get(name)
        self._execute("DELETE FROM saved_searches WHERE name = ?", (name,))
