"""From a query to ranked moments, and what else is found in stored vectors."""
