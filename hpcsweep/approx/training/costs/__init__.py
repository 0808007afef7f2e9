"""What training costs: operations, memory, and seconds on a measured device."""
