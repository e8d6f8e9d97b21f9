"""Commands as jobs on a Ray cluster: submit them, follow them, and bring their results home."""
