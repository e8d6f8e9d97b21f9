"""What is run and where: params.yaml and the environment, typed; where files lie."""
