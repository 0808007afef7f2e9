"""Who computes what, where and until when: MPI ranks, devices, signals. The only room with mpi4py and submitit."""
