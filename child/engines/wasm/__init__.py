"""WebAssembly: modules that are compiled once, and run in a fresh instance each time.

binding/ is wasmtime as Python objects, and knows nothing of the rest.
"""
