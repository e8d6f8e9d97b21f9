"""Commands that run experiments: sweeps, ablations and the architecture search."""
