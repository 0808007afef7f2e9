"""The commands, by group. Each imports its requirements when called; `hpcsweep.__main__` combines them."""
