"""One index run: choose, decode, encode, commit; and what follows, pauses, repairs or estimates it."""
