"""Use a model: over HTTP, on files, or as an exported file."""
