"""What the commands of `launch/` do, each in one file: data, mesh, network, checkpoint, work."""
