"""Where named scripts are kept: a module a backend, which keeps the protocol of jefe/core/store.py."""
