"""The study's HDF5 file: its layout, its lease, how it is written, merged and read."""
