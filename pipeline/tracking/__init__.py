"""MLflow runs: the connection, the run of a training, the UI."""
