"""What a study holds in storage: its datasets, listings and tables."""
