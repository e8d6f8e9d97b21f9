"""The networks, what they cost, and the forms in which they are stored and exported."""
