"""Runs a plan with a destination: fetches, verifies, pins and prunes."""
