"""One module per schema. An adapter turns an entry into embedkit options and a batch, and names the outputs."""
