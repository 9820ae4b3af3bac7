"""A library on disk: catalog, ledger, segments, files, texts beside videos."""
