"""The acts of the training pipeline: prepare, leaks, pack, train, tune, evaluate, register, derain; see ``--help``."""
