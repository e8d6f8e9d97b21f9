"""What a person runs; see `python -m pipeline --help`."""
