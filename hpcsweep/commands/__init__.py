"""The commands, by group; each imports what it needs when it is called. `hpcsweep.__main__` joins them."""
