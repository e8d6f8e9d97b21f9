"""Using a model: over HTTP, on files, and as an exported file."""
