"""Work spread over the machines of a cluster: what a pool of actors is, and the one of Ray Data."""
