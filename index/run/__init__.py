"""One index run: choose, decode, encode, commit; and modules that follow, pause, repair or estimate it."""
