"""Which subjects and files a manifest takes: pure functions over names."""
