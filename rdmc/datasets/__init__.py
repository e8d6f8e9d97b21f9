"""Sources of pairs (benchmarks, folders, rendered rain) and the checks on them."""
