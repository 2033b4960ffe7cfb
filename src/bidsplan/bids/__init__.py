"""The rules of BIDS about file names and the files that belong together."""
