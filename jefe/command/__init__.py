"""The command line: the only room that prints, reads arguments, and sets up logging."""
