"""One HTML page of results, a single file that loads nothing from elsewhere."""
