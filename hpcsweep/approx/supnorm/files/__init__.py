"""Networks and targets by name, as on a command line.

``named``      what a command line names, as an approximation
``weights``    files of weights: .npz, state dicts of torch, safetensors
``layers``     networks from weights and a list of layers
``programs``   networks that a file holds as a program: TorchScript, torch.export
``archives``   their archives without what torch would execute while it reads them
"""

from hpcsweep.approx.supnorm.files.named import Files, each_output, files, load_network, load_target

__all__ = ["Files", "each_output", "files", "load_network", "load_target"]
