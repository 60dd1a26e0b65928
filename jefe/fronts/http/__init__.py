"""HTTP/1.1: scripts kept under names and run, for whoever can send a request. See server.py."""
