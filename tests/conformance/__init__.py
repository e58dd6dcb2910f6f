"""Golden values of the methods' authors against embedkit: ``python -m tests.conformance [FOLDER]``.

`entries` reads the three file schemas into one form, `inputs` rebuilds the arrays of an entry from its seed,
`adapters/` say how an entry's hyper-parameters and arrays become an embedkit objective, `runner` compares, and
`report` prints. Adapters only build inputs, configure embedkit, call it and add up its outputs; no loss is
implemented here.
"""
