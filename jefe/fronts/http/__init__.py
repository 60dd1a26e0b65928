"""HTTP/1.1: any program that can send a request keeps scripts under names and runs them. See server.py."""
