"""Backup and restore of what cannot be made again: MLflow's database and artifacts, the registry in it, and the bucket."""
