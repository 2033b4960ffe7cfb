"""Bringing one entry's bytes, checked: large ones streamed to a partial, small ones in one go."""
