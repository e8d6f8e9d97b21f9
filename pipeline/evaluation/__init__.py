"""Models on test images: their figures, paired comparisons, confidence bounds, plots."""
