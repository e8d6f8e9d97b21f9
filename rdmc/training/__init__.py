"""Training of a network: the loop, its config, the losses and the architecture search."""
