"""Evaluate models on test images: figures, paired comparisons, confidence bounds, plots."""
