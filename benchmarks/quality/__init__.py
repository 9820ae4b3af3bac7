"""Parts of quality_cost.py: what is encoded, in which ways, what is asked, and what follows from the answers."""
