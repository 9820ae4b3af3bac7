"""The toy kitchen: rendered first-person cooking videos with exact EPIC-KITCHENS-100 annotation files."""
