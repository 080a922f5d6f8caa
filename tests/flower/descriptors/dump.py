"""Writes the descriptors of the installed flwr to the file that is named, as one FileDescriptorSet."""

import importlib
import pkgutil
import sys
from pathlib import Path

import flwr.proto
from google.protobuf.descriptor_pb2 import FileDescriptorSet

described = FileDescriptorSet()
for module in pkgutil.iter_modules(flwr.proto.__path__):
    if module.name.endswith("_pb2"):
        code = importlib.import_module(f"flwr.proto.{module.name}")
        code.DESCRIPTOR.CopyToProto(described.file.add())
Path(sys.argv[1]).write_bytes(described.SerializeToString())
