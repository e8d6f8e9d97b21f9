"""Data from outside: known benchmarks, downloads, and the report of leaks."""
