"""Amounts of data as people read them."""


def format_bytes(num_bytes: int) -> str:
    """In the largest unit of which there is one, powers of 1000: "340 bytes", "12 kB", "3.1 MB", "1.4 GB"."""
    for unit, power in (("TB", 12), ("GB", 9), ("MB", 6)):
        if num_bytes >= 10**power:
            return f"{num_bytes / 10**power:.1f} {unit}"
    return f"{num_bytes / 1000:.0f} kB" if num_bytes >= 1000 else f"{num_bytes} bytes"
