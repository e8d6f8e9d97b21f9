"""The MLflow model registry: what a version holds, and how it is made again."""
