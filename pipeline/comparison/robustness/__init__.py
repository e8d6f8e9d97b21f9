"""Where a model breaks: its gain over rain of every direction, density, length, opacity and veil."""
