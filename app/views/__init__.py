"""One page a file: inputs, one call into the core, one chart, one sentence that says what is seen."""
