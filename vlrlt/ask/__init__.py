"""Questions over a library, answered with moments as evidence."""
