"""What launch/benchmark.py measures: a module a question, each with `measure(config, ...)` and `table(report)`."""
