"""Many trainings: sweeps, ablations and the architecture search."""
