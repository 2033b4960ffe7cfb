"""From a manifest and a listing to a plan. Reads names; writes nothing."""
