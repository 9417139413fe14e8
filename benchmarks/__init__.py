"""What `make bench` runs: each number that the documentation states, measured on this machine."""
