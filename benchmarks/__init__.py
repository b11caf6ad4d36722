"""One module a claim; each prints a ratio and how it was measured. Benchmarks are not tests: speed fails nothing."""
