"""The registry of rain benchmarks, with the source of every fact."""
