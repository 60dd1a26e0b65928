"""The confinement: what a child gives up before it touches untrusted code, and how that is tested."""
