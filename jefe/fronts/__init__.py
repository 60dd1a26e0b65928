"""The ways in: each is a thin translator onto the verbs of the supervisor."""
