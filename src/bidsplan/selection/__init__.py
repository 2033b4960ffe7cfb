"""Which files of a dataset a manifest takes, and why: pure functions over names."""
