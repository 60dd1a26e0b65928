"""Hexput: a small scripting language, and its WebSocket runtime and client."""
