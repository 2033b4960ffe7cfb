"""Run a plan over a destination: fetch, verify, pin, prune."""
