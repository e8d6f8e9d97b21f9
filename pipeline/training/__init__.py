"""Training on Ray Train, or in the current process."""
