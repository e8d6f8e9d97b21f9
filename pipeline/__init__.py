"""The acts of the training pipeline: prepare, pack, train, tune, evaluate, register, derain. ``python -m pipeline --help``."""
