"""Compare models on the same images under every convention: the command ``compare`` and its leaderboard."""
