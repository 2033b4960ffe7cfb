"""Reviews plans: their contents, changes and gaps, and exports for other tools."""
