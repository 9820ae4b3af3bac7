"""The HTTP API: what the command line does with a library, for programs on this machine or, with a token, on others."""
