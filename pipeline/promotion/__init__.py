"""Which version is the champion: the gate, the log of promotions, and their commands."""
