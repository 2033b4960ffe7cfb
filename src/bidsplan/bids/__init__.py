"""What BIDS says about names and files."""
