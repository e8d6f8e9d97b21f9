"""The networks, their cost, and the formats in which they are stored and exported."""
