"""MLflow runs: the connection, the run of a training, and the UI."""
