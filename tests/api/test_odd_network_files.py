"""Files of weights that are something else than they should be: text, arrays without end, headers of other things."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from hpcsweep.approx.supnorm import files
from hpcsweep.errors import UserError


def archive(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        written.writestr(name, content)
    return file.getvalue()


HEADER = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 1000000)}".ljust(117) + b"\n"
GIANT = b"\x93NUMPY\x01\x00" + len(HEADER).to_bytes(2, "little") + HEADER


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ('["W0"]', "its header is not a JSON object"),
        ('{"W0": {"dtype": "F4", "shape": [1, 2], "data_offsets": [0, 1]}}', "W0 is of type F4; allowed are F64, F32"),
        ('{"W0": {"dtype": "C64", "shape": [1, 1], "data_offsets": [0, 8]}}', r"holds W0 complex64 \(1, 1\)"),
        ('{"W0": {"dtype": "F32", "shape": [1, 1]}}', "KeyError 'data_offsets'"),
        ('{"W0": {"dtype": "F32", "shape": [1e9, 1e9], "data_offsets": [0, 8]}}', "W0 has 8 bytes for the shape"),
    ],
)
def test_other_headers_of_safetensors_are_refused(header: str, said: str, tmp_path: Path) -> None:
    content = len(header).to_bytes(8, "little") + header.encode() + bytes(8)
    (tmp_path / "net.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=said):
        files.load_network("net.safetensors", "tanh", tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"words", "it is not an archive, as numpy.savez writes it"),
        (archive("W0.npy", GIANT), "Unable to allocate|could not be read|EOF"),
        (archive("W0", b"words"), "Cannot cast"),
    ],
)
def test_other_arrays_are_refused(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "net.npz").write_bytes(content)
    with pytest.raises(UserError, match=rf"net\.npz cannot be read as an \.npz file of weights: .*({said})"):
        files.load_network("net.npz", "tanh", tmp_path)


def test_text_is_no_state_dict(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_text("this is some text, not a network at all, but long enough")
    with pytest.raises(UserError, match=r"net\.pt cannot be read as a state dict"):
        files.load_network("net.pt", "tanh", tmp_path)
