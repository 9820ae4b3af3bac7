"""Who reads what is said and written in videos."""
