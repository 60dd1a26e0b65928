"""Hexput over WebSocket: the server."""
