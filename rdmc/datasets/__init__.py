"""How pairs come to be: benchmarks, folders, rendered rain, and the checks."""
