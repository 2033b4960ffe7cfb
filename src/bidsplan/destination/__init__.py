"""Where files are written, atomically, and what is noted of them."""
