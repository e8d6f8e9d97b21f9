"""The command ``downstream``: what detectors and segmenters make of rainy, derained and clean images."""
