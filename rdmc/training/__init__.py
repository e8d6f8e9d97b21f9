"""Training a network: the loop, its config, the losses, the architecture search."""
