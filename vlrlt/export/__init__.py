"""Results to take away: films, pictures, and lists that players and editors read. The archive is only read."""
