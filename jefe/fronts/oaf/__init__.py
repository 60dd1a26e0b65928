"""OAF over TCP."""
