"""What a restored image is for: object detection and segmentation on rainy, derained and clean images."""
