"""What is run and where, typed: params.yaml, the environment, and the paths of files."""
