"""Export of results: films, pictures, and lists for players and editors. The archive is only read."""
