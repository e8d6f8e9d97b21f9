"""The stages of dvc.yaml, one module per stage."""
