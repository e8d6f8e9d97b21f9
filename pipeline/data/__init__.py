"""Getting data: the known benchmarks, downloads, and the report of leaks."""
