"""A sweep: its ledger, its decisions, Ray Tune, and what it reports."""
