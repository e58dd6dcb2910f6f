"""What is on the disk: settled paths, files that are whole or absent, one writer at a time, where things stand."""
