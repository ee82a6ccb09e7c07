"""The assembly: configuration to graph, graph to running sidecar, and the commands that do it."""
