"""Image towers of other libraries as run-length video encoders: one small adapter for each family."""
