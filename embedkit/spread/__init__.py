"""Work spread over processes: pools of actors on the machines of a cluster, and what a training's processes gather."""
